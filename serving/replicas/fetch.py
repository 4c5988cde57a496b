"""Copies packages from ``PACKAGE_STORE`` to a host that does not share the artifact store."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from serving.models import Package
from serving.packages.exchange import place_of, pull
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path


@dataclass
class PackageFetcher:
    """Copies run in threads, so that the supervisor goes on with other packages."""

    _threads: dict[int, threading.Thread] = field(default_factory=dict)
    _errors: dict[int, Refused] = field(default_factory=dict)

    def is_here(self, package: Package) -> bool:
        """Whether the files of a package are on this host; where they are not, they are being copied.

        Raises:
            Refused: the copy failed, once; the next call tries again.
        """
        if not settings.PACKAGE_STORE or local_path(package.folder_key).is_dir():
            return True
        thread = self._threads.get(package.pk)
        if thread is None:
            place, target = place_of(package.project.slug, package.number), local_path(package.folder_key)
            thread = threading.Thread(target=self._copy, args=(package.pk, place, target, package.sha256), daemon=True)
            self._threads[package.pk] = thread
            thread.start()
        elif not thread.is_alive():
            del self._threads[package.pk]
            if error := self._errors.pop(package.pk, None):
                raise error
        return False

    def _copy(self, pk: int, place: str, target: Path, sha256: str) -> None:
        try:
            pull(place, target, sha256=sha256)
        except Refused as refused:
            self._errors[pk] = refused
