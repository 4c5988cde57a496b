"""``manage.py edge``: writes a package as a static folder for browsers."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from serving.models import Package
from serving.packages.documents.manifest import verify_signature
from serving.packages.edge.bundle import write_bundle
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash
from slmstudio.text.formatting import format_bytes


class Command(BaseCommand):
    """Writes the page, the model and its runtime in WebAssembly into a new folder: documents are answered in the
    browser, without a server.
    """

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--package", type=int, help="number of the package (default: the newest that is built)")
        parser.add_argument("--output", required=True, type=Path, help="the new folder")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Package.objects.filter(project__slug=options["project"]).exclude(sha256="").order_by("-number")
        package = rows.filter(number=options["package"]).first() if options["package"] else rows.first()
        if package is None or not package.is_ready:
            raise CommandError("There is no such package, or it is not built yet.")
        folder = local_path(package.folder_key)
        try:
            verify_signature(package)
            if folder_hash(folder) != package.sha256:
                raise CommandError("The files of the package have changed: their hash is not the recorded one.")
            size = write_bundle(folder, options["output"], title=f"{package.project.name}, package {package.number}")
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{options['output']} has {format_bytes(size)}. Its README.txt says how to serve it.")
