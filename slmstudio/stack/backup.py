"""Backups: the database, the artifacts and the signing keys in a folder, encrypted in the format of age.

The files are encrypted for a key of the backup, which a passphrase protects, or for a recipient of age, so that the
machine that writes backups cannot read them. ``manifest.json`` is readable: it has no data of projects. A restore first
checks what can be checked, fills the database in one transaction, and compares the facts that apps gave
(``hooks.backup_facts``) with those of the restored data.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyrage
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from slmstudio import hooks
from slmstudio.accounts.encryption import encryption_keys
from slmstudio.accounts.secret_keys import all_keys
from slmstudio.stack.postgres import PROGRAMS
from slmstudio.storage import artifacts, installation
from slmstudio.storage.hashing import sha256_file

FORMAT = 1
MANIFEST, IDENTITY = "manifest.json", "identity.age"
_DATABASE, _ARTIFACTS, _FACTS = "database.dump.age", "artifacts.tar.age", "facts.json.age"
#: a fact about a file that is not there
MISSING = "missing"


class BackupError(Exception):
    """A backup cannot be written or restored; the message says why, and nothing was changed unless it says so."""


# -- backup ------------------------------------------------------------------------------------------------------------


def write(folder: Path, *, passphrase: str = "", recipient: str = "") -> list[str]:
    """Writes a backup into a new folder, while the studio runs; returns the names of files that rows name and the store
    does not have. Either ``passphrase`` or ``recipient`` (``age1...``).

    Facts and database are of one moment. The artifacts follow: a file is written before its row, so they have all that
    the rows name.

    Raises:
        BackupError: the folder exists and is not empty, the recipient is invalid, or a program fails.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty.")
    key = pyrage.x25519.Identity.generate()
    try:
        target = pyrage.x25519.Recipient.from_str(recipient) if recipient else key.to_public()
    except pyrage.RecipientError as error:
        raise BackupError(f"{recipient} is not a recipient of age, such as age1...: {error}") from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    with _snapshot() as snapshot:
        facts = _facts()
        options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
        with _program("pg_dump", *options, stdout=subprocess.PIPE) as dump:
            files[_DATABASE] = _encrypt(dump.stdout, folder / _DATABASE, target)
    with _piped(_pack) as tar:
        files[_ARTIFACTS] = _encrypt(tar, folder / _ARTIFACTS, target)
    content = json.dumps({"keys": all_keys(), "encryption_keys": encryption_keys(), "facts": facts}).encode()
    files[_FACTS] = _encrypt(io.BytesIO(content), folder / _FACTS, target)
    if passphrase:
        (folder / IDENTITY).write_bytes(pyrage.passphrase.encrypt(str(key).encode(), passphrase))
    manifest = {
        "format": FORMAT, "created_at": datetime.now(UTC).isoformat(), "version": installation.version(),
        "migrations": _applied(), "encrypted_for": recipient or "passphrase", "files": files,
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return sorted(name for name, value in facts.items() if value == MISSING)


@contextlib.contextmanager
def _snapshot() -> Iterator[str]:
    """A transaction that sees one moment; its name lets ``pg_dump`` see the same."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT pg_export_snapshot()")
        yield cursor.fetchone()[0]


def _facts() -> dict[str, str]:
    return {name: value for facts in hooks.backup_facts.call() for name, value in facts.items()}


def _known() -> set[str]:
    """The migrations of this version, and those that they replace."""
    migrations = MigrationLoader(None).disk_migrations
    names = [*migrations, *(name for migration in migrations.values() for name in migration.replaces)]
    return {".".join(name) for name in names}


def _applied() -> list[str]:
    return sorted(".".join(name) for name in MigrationLoader(connection).applied_migrations)


def _pack(pipe: IO[bytes]) -> None:
    root = Path(artifacts.store().path(""))
    with tarfile.open(fileobj=pipe, mode="w|") as tar:
        for path in sorted(root.rglob("*")):
            if path.suffix != ".part":
                with contextlib.suppress(FileNotFoundError):  # deleted by its retention
                    tar.add(path, arcname=str(path.relative_to(root)), recursive=False)


def _encrypt(source: IO[bytes] | None, target: Path, recipient: Any) -> dict[str, Any]:
    """Encrypts a stream into a file; returns its size in bytes and its SHA-256."""
    with target.open("xb") as file:
        os.chmod(target, 0o600)
        pyrage.encrypt_io(source, file, [recipient])
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": target.stat().st_size, "sha256": sha256_file(target)}


# -- restore -----------------------------------------------------------------------------------------------------------


def restore(folder: Path, *, passphrase: str = "", identity: str = "", migrate: Callable[[], object]) -> list[str]:
    """Restores a backup into an empty stack; returns what is left to do, a sentence each. ``identity``: the secret key
    of age (``AGE-SECRET-KEY-1...``) of the recipient; ``migrate``: brings the restored database up to date.

    Raises:
        BackupError: the backup is incomplete, damaged or of a newer version, the passphrase or identity is wrong, the
            stack is not empty, or the restored data differs from what was backed up.
    """
    manifest = _read_manifest(folder)
    key = _identity(folder, passphrase, identity)
    content = json.loads(_decrypted(folder / _FACTS, key))
    _require_empty()
    root = Path(artifacts.store().path(""))
    part = root.with_name(f".{root.name}.restored")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    try:
        with _piped(lambda pipe: _decrypt(folder / _ARTIFACTS, pipe, key)) as tar, _archive(tar) as archive:
            archive.extractall(part, filter="data")
        options = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
        with connection.cursor() as cursor:  # tables that a migration made
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.close()
        database = f"--dbname={connection.settings_dict['NAME']}"
        with _program("pg_restore", *options, database, stdin=subprocess.PIPE) as program:
            assert program.stdin is not None
            _decrypt(folder / _DATABASE, program.stdin, key)
            program.stdin.close()
        if root.exists():
            root.rmdir()
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    connection.close()
    migrate()
    left = _restore_keys(content["keys"], content.get("encryption_keys", []))
    differing = sorted(name for name, value in content["facts"].items() if _facts().get(name) != value)
    if differing:
        raise BackupError(f"Restored, but different from what was backed up: {', '.join(differing[:5])}.")
    if manifest["version"] != installation.version():
        left.append(f"The backup is of version {manifest['version']}; the database was migrated.")
    return left


def _archive(tar: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=tar, mode="r|")


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        files, number = manifest["files"], manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder / MANIFEST} is not the manifest of a backup: {error}") from error
    newer = sorted(set(manifest["migrations"]) - _known())
    if number != FORMAT or newer:
        what = f"it has the migration {newer[0]}" if newer else f"its format is {number}"
        raise BackupError(f"The backup is of a newer version ({manifest['version']}): {what}. Update first.")
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise BackupError(f"{path} is missing. The backup is incomplete.")
        if sha256_file(path) != entry["sha256"]:
            raise BackupError(f"{path} was changed or truncated: its SHA-256 is not that of the manifest.")
    return manifest


def _identity(folder: Path, passphrase: str, identity: str) -> Any:
    try:
        if not identity:
            identity = pyrage.passphrase.decrypt((folder / IDENTITY).read_bytes(), passphrase).decode()
        return pyrage.x25519.Identity.from_str(identity.strip())
    except FileNotFoundError as error:
        raise BackupError("The backup was encrypted for a recipient of age: its identity is needed.") from error
    except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
        raise BackupError("The passphrase or identity is wrong.") from error


def _require_empty() -> None:
    with connection.cursor() as cursor:
        for table in ("auth_user", "labeling_project"):
            cursor.execute("SELECT to_regclass(%s)", [table])
            if cursor.fetchone()[0] is not None:
                cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table})")  # noqa: S608
                if cursor.fetchone()[0]:
                    raise BackupError(f"The database is not empty: {table} has rows. Restore into a new one.")
    root = Path(artifacts.store().path(""))
    if root.exists() and any(root.iterdir()):
        raise BackupError(f"{root} is not empty. Restore into a new folder.")


def _restore_keys(keys: list[str], encryption: list[str]) -> list[str]:
    """Stores the keys of the backup where this stack has none of its own; returns what is left to do."""
    left = _restore_signing_key(keys)
    if encryption and encryption[0] not in {*keys, *encryption_keys()}:
        left.append(f"Set ENCRYPTION_KEY to the content of {_stored('encryption-key-of-backup', encryption[0])}.")
    return left


def _stored(name: str, key: str) -> Path:
    """The path of a new private file with a key."""
    path = installation.home() / name
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key)
    return path


def _restore_signing_key(keys: list[str]) -> list[str]:
    if not set(keys).isdisjoint(all_keys()):
        return []
    path = _stored("secret-key-of-backup" if os.environ.get("SECRET_KEY") else "secret-key", keys[0])
    if os.environ.get("SECRET_KEY"):
        return [f"Set SECRET_KEY to the content of {path}, or add it to SECRET_KEY_FALLBACKS. Then delete the file."]
    more = " Set SECRET_KEY_FALLBACKS as before, too." if len(keys) > 1 else ""
    return [f"The signing key is in {path}. Restart all processes.{more}"]


def _decrypted(path: Path, key: Any) -> bytes:
    with _piped(lambda pipe: _decrypt(path, pipe, key)) as text:
        return text.read()


def _decrypt(path: Path, target: IO[bytes], key: Any) -> None:
    try:
        with path.open("rb") as file:
            pyrage.decrypt_io(file, target, [key])
    except pyrage.DecryptError as error:
        raise BackupError("The passphrase or identity is wrong.") from error


# -- streams -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _program(name: str, *options: str, **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program of PostgreSQL on the database of the settings. Raises BackupError if it fails."""
    database = connection.settings_dict
    environment = {
        "PATH": os.defpath, "LC_ALL": "C", "PGHOST": database["HOST"], "PGPORT": str(database["PORT"]),
        "PGUSER": database["USER"], "PGPASSWORD": database["PASSWORD"], "PGDATABASE": database["NAME"],
        **{f"PG{option.upper()}": str(value) for option, value in database["OPTIONS"].items() if option == "sslmode"},
    }  # fmt: skip
    command = [str(PROGRAMS / name), *options]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **streams) as process:
        try:
            yield process
        except BrokenPipeError:
            pass  # what it says is below
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise BackupError(f"{name}: {said[-1_000:] or process.returncode}")


@contextlib.contextmanager
def _piped(produce: Callable[[IO[bytes]], None]) -> Iterator[IO[bytes]]:
    """The bytes that ``produce`` writes in another thread; its error is raised at the end of the block."""
    read_end, write_end = os.pipe()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with os.fdopen(write_end, "wb") as pipe:
                produce(pipe)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with os.fdopen(read_end, "rb") as reader:
        try:
            yield reader
        except tarfile.ReadError:
            if not errors:
                raise
    thread.join()
    if errors:
        raise errors[0]
