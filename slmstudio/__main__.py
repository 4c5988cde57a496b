"""The command line: ``python -m slmstudio``, which ``manage.py`` and the program ``slm-studio`` are, too.

``up`` runs the whole application and ``version`` prints its version; other commands are Django's. Where DATABASE_URL or
REDIS_URL is not set, the embedded server runs as long as the command.
"""

import os
import sys

from slmstudio.accounts.secret_keys import require_strong_keys
from slmstudio.env import EnvError
from slmstudio.stack import StackError, environment, serve
from slmstudio.storage.installation import PROGRAM, version


def main() -> None:
    """Runs the command of ``sys.argv``."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["up"]:
        sys.exit(serve.main(arguments[1:]))
    if arguments in (["version"], ["--version"]):
        print(f"SLM Studio {version()}")
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
    environment.exit_on_termination()
    try:
        if environment.needs_keys(arguments):
            require_strong_keys()
        with environment.servers(start=environment.needs_servers(arguments)):
            from django.core.management import execute_from_command_line

            from slmstudio.database.roles import use_owner

            use_owner(arguments)
            execute_from_command_line([PROGRAM, *arguments])
    except (StackError, EnvError) as error:
        sys.exit(f"{PROGRAM}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
