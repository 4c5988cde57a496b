"""``manage.py push_package``: copies a package to a hub, a folder or an object store."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from serving.models import Package
from serving.packages import exchange
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path


class Command(BaseCommand):
    """Copies a package after checking its files. Credentials come from the environment: HF_TOKEN, AWS_*."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("place", help="hf:OWNER/NAME, hf:OWNER/NAME@BRANCH, s3://BUCKET/PREFIX, or a folder")
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--package", type=int, help="number of the package (default: the newest that is built)")
        parser.add_argument("--public", action="store_true", help="create a public repository of the hub")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Package.objects.filter(project__slug=options["project"]).exclude(sha256="").order_by("-number")
        package = rows.filter(number=options["package"]).first() if options["package"] else rows.first()
        if package is None or not package.is_ready:
            raise CommandError("There is no such package, or it is not built yet.")
        files = [str(entry["path"]) for entry in package.files]
        try:
            address = exchange.push(
                local_path(package.folder_key), options["place"], files=files, private=not options["public"],
                message=f"Package {package.number} of {options['project']}, {package.sha256}",
            )  # fmt: skip
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{package} {package.sha256} is at {address}")
