"""``manage.py verify_bundle``: verifies an evidence bundle. It needs no database.

Exit codes: 0 nothing is wrong, 1 something is, 2 the bundle cannot be read. Without ``--sha256`` or ``--public-key``, a
bundle that was changed consistently is not recognized, and the output says so.
"""

import zipfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from evaluation.bundles.verification import Check, unpacked, verify_bundle

_MAX_SHOWN = 10
_UNREADABLE = (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, NotImplementedError)


class Command(BaseCommand):
    """Compares hashes and signature, counts the scores again from the outputs, and computes the verdicts again."""

    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bundle", type=Path, help="the zip file, or its unpacked folder")
        parser.add_argument("--sha256", default="", help="hash of the bundle or its manifest, from the report's page")
        parser.add_argument("--public-key", type=Path, help="PEM file of the key that bundles are signed with")

    def handle(self, *args: Any, **options: Any) -> None:
        failed = 0
        try:
            with unpacked(options["bundle"]) as folder:
                sha256 = options["sha256"].strip().lower()
                for check in verify_bundle(folder, sha256=sha256, public_key=options["public_key"]):
                    self._print(check)
                    failed += bool(check.problems)
        except _UNREADABLE as error:
            message = f"The bundle cannot be read: {type(error).__name__}: {error}"
            raise CommandError(message, returncode=1 if failed else 2) from error
        if failed:
            raise CommandError(f"{failed} {ngettext('check', 'checks', failed)} failed.", returncode=1)
        self.stdout.write("All checks passed.")

    def _print(self, check: Check) -> None:
        self.stdout.write(f"{'FAILED' if check.problems else 'note' if check.is_note else 'ok':8}{check.title}")
        for problem in check.problems[:_MAX_SHOWN]:
            self.stdout.write(f"        {problem}")
        if len(check.problems) > _MAX_SHOWN:
            self.stdout.write(f"        and {len(check.problems) - _MAX_SHOWN} more")
