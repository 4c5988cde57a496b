#!/usr/bin/env python
"""Django's command line. Where DATABASE_URL or REDIS_URL is not set, the embedded server runs meanwhile."""

import os
import sys

from slmstudio.accounts.secret_keys import require_strong_keys
from slmstudio.env import EnvError
from slmstudio.stack import StackError, environment


def main() -> None:
    """Runs the command of ``sys.argv``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
    environment.exit_on_termination()
    try:
        if environment.needs_keys(sys.argv[1:]):
            require_strong_keys()
        with environment.servers(start=environment.needs_servers(sys.argv[1:])):
            from django.core.management import execute_from_command_line

            from slmstudio.database.roles import use_owner

            use_owner(sys.argv[1:])
            execute_from_command_line(sys.argv)
    except (StackError, EnvError) as error:
        sys.exit(f"manage.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
