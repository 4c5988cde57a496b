"""The bundle of a release: its package as one archive that answers with ``extract.pyz``, without the studio."""

from serving.models import Package, Release
from serving.packages.spec import PROGRAM
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from training.exports.downloads import Folder


def has_bundle(package: Package) -> bool:
    """Whether a package can be downloaded for use without the studio."""
    return package.is_ready and any(entry["path"] == PROGRAM for entry in package.files)


def bundle_folder(release: Release) -> Folder:
    """The files of a release's bundle.

    Raises:
        Refused: (code ``bundle``) it has none; (code ``missing``) a file is missing on disk.
    """
    package = release.package
    if package is None or not package.is_ready:
        raise Refused(f"{str(release).capitalize()} has no built package.", code="bundle")
    if not has_bundle(package):
        raise Refused(f"{str(package).capitalize()} has no bundle. Build it again with llama.cpp.", code="bundle")
    folder = Folder(local_path(package.folder_key), tuple(str(entry["path"]) for entry in package.files))
    if folder.missing:
        raise Refused(f"{folder.missing[0]} is missing on disk. Restore a backup.", code="missing")
    return folder


def bundle_name(release: Release) -> str:
    """The name of the archive without its ending, and of the folder in it."""
    return f"{release.project.slug}-release-{release.number}"
