"""``manage.py backup FOLDER``: database, artifacts and signing keys, encrypted, while the studio runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from slmstudio.stack import backup


def read_secret(path: str, what: str) -> str:
    """The first line of a file that only its owner should read. Raises CommandError."""
    try:
        secret = Path(path).read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The {what} cannot be read: {error}") from error
    if not secret:
        raise CommandError(f"{path} has no {what}.")
    return secret


class Command(BaseCommand):
    """Writes a backup."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="a new or empty folder")
        key = parser.add_mutually_exclusive_group(required=True)
        key.add_argument("--passphrase-file", default="", help="a file whose first line is the passphrase")
        key.add_argument("--recipient", default="", help="a public key of age: age1...")

    def handle(self, *args: Any, **options: Any) -> None:
        file, recipient = options["passphrase_file"], options["recipient"]
        passphrase = read_secret(file, "passphrase") if file else ""
        try:
            missing = backup.write(options["folder"], passphrase=passphrase, recipient=recipient)
        except (backup.BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Written to {options['folder']}.")
        if missing:
            raise CommandError(f"The backup lacks files that were missing before: {', '.join(missing[:10])}.")
