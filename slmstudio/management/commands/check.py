"""``slm-studio check``: Django's checks of the settings, then what this machine has and lacks."""

from typing import Any

from django.core.management.commands import check

from slmstudio.stack import machine


class Command(check.Command):
    """Django's command with a report on the machine."""

    help = "Checks the settings, and prints what this machine has and lacks."

    def handle(self, *app_labels: list[str], **options: Any) -> None:
        """Raises SystemCheckError as Django's."""
        super().handle(*app_labels, **options)
        if not options["list_tags"]:
            self.stdout.write("\n".join(machine.report()))
