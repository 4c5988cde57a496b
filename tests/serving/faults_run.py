"""``bench.serving_faults`` on a copy of the migrated test database: migrating a new one takes longer than the faults.

Run as a program. It makes the faults that its arguments name, and prints their results as the last line.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from unittest import mock

from bench import harness, serving_faults
from slmstudio.stack import environment, lifecycle
from slmstudio.stack.paths import Paths
from slmstudio.storage import installation
from tests import database_template

#: requests a second; 100 keep a machine busy whose other cores test something else
PER_SECOND = 40
servers, manage = environment.servers, harness.manage


@contextlib.contextmanager
def migrated_servers() -> Iterator[lifecycle.Running | None]:
    """The servers of a new SLM_HOME. Their database has its tables."""
    copied = database_template.copy_to(installation.home())
    if copied:  # without the settings of the tests, which lose what was committed when the server is killed
        (Paths.of(installation.home()).postgres / "data/postgresql.auto.conf").write_text("")
    with servers() as running:
        if copied:
            address, slash, name = os.environ["DATABASE_URL"].rpartition("/")
            os.environ["DATABASE_URL"] = f"{address}{slash}test_{name}"
        else:
            manage("migrate", "--verbosity=0")
        yield running


if __name__ == "__main__":
    sys.argv += ["--quick", "--json"]
    with (
        mock.patch.object(environment, "servers", migrated_servers),
        mock.patch.object(harness, "manage"),
        mock.patch.object(serving_faults, "PER_SECOND", PER_SECOND),
    ):
        serving_faults.main()
