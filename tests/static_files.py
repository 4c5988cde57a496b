"""Static files are listed once a process: every test client has middleware of its own, and would list them again."""

from typing import Any

from slmstudio.web.compression import StaticFiles


def list_once() -> None:
    """From now on the files that the finders list are those of the first list."""
    add = StaticFiles.add_files_from_finders
    listed: dict[str, Any] = {}

    def add_listed(middleware: Any) -> None:
        if not listed:
            add(middleware)
            listed.update(middleware.files)
        middleware.files.update(listed)

    StaticFiles.add_files_from_finders = add_listed
