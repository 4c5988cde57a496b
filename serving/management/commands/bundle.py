"""``manage.py bundle``: writes the offline bundle of a release, for machines without the studio or a network."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from serving.models import Release
from serving.packages.bundle import bundle_folder, bundle_name
from slmstudio.errors import Refused
from slmstudio.storage.files import write_whole
from training.exports.downloads import zip_folder


class Command(BaseCommand):
    """Writes the offline bundle of a version, the same file as the download on the Deploy page."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--release", required=True, type=int, help="number of the version")
        parser.add_argument("--output", required=True, type=Path, help="path of the zip file")

    def handle(self, *args: Any, **options: Any) -> None:
        releases = Release.objects.select_related("package", "project")
        release = releases.filter(project__slug=options["project"], number=options["release"]).first()
        if release is None:
            raise CommandError(f"There is no version {options['release']} in {options['project']}.")
        path: Path = options["output"]
        try:
            folder = bundle_folder(release)
            write_whole(path, zip_folder(folder, bundle_name(release)))
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{path}: {path.stat().st_size:,} bytes")
