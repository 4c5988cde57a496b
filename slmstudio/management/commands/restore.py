"""``manage.py restore FOLDER``: a backup into an empty database and an empty artifact store."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from slmstudio.management.commands.backup import read_secret
from slmstudio.stack import backup


class Command(BaseCommand):
    """Restores a backup."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder of the backup")
        key = parser.add_mutually_exclusive_group(required=True)
        key.add_argument("--passphrase-file", default="", help="a file whose first line is the passphrase")
        key.add_argument("--identity-file", default="", help="a file whose first line is AGE-SECRET-KEY-1...")

    def handle(self, *args: Any, **options: Any) -> None:
        names = {"passphrase": options["passphrase_file"], "identity": options["identity_file"]}
        keys = {what: read_secret(file, what) for what, file in names.items() if file}
        try:
            left = backup.restore(
                options["folder"], migrate=lambda: call_command("migrate", verbosity=0, interactive=False), **keys
            )
        except (backup.BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write("\n".join(["Restored. Audit logs, datasets and labels are as backed up.", *left]))
