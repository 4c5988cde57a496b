"""``manage.py pull_package``: copies a package from a hub, a folder or an object store, and verifies it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from serving.models import Package
from serving.packages import exchange
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path


class Command(BaseCommand):
    """Copies a package into a new folder, or with --package into the artifact store of this host, where its hash must
    be the recorded one. Nothing is kept if a file or the signature is not valid.
    """

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("place", help="hf:OWNER/NAME, hf:OWNER/NAME@REVISION, s3://BUCKET/PREFIX, or a folder")
        parser.add_argument("--output", type=Path, help="the new folder")
        parser.add_argument("--project", help="slug of the project, with --package")
        parser.add_argument("--package", type=int, help="number of the package with missing files")

    def handle(self, *args: Any, **options: Any) -> None:
        target, sha256 = options["output"], ""
        if (target is None) == (options["package"] is None):
            raise CommandError("Give --output, or --project and --package.")
        if target is None:
            package = Package.objects.filter(project__slug=options["project"], number=options["package"]).first()
            if package is None or not package.is_ready:
                raise CommandError("There is no such package, or it is not built yet.")
            target, sha256 = local_path(package.folder_key), package.sha256
        try:
            pulled = exchange.pull(options["place"], target, sha256=sha256)
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{pulled} is in {target}")
