"""Errors of the servers on this machine, each as one sentence a person can act on."""

import errno
import shutil
import socket
from pathlib import Path

from slmstudio.text.formatting import format_bytes

MEBIBYTE = 1024 * 1024
#: bytes for a new PostgreSQL cluster and some work in it
NEW_CLUSTER_BYTES = 1024 * MEBIBYTE
#: bytes for a server to start on existing data
START_BYTES = 64 * MEBIBYTE


class StackError(Exception):
    """A server could not be started, used or stopped; the message is a sentence for the person at the terminal."""


def existing_ancestor(path: Path) -> Path:
    """The nearest existing folder at or above ``path``."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def require_disk_space(path: Path, size: int, purpose: str) -> None:
    """Checks that ``size`` bytes are free where ``path`` is or will be.

    Raises:
        StackError: less is free.
    """
    free = shutil.disk_usage(existing_ancestor(path)).free
    if free < size:
        raise StackError(
            f"The disk is too full to {purpose}: {path} needs {format_bytes(size)} free and has {format_bytes(free)}."
        )


def require_port(host: str, port: int) -> None:
    """Checks that a server could listen on ``host:port`` (an IPv4 address or name).

    Raises:
        StackError: the port is in use, or not allowed.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port that only waits for old connections to time out is free; one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise StackError(_port_sentence(host, port, error)) from error


def _port_sentence(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is used by another program; stop it or choose another with PORT={port + 1}."
    if error.errno == errno.EACCES:
        return f"This account cannot use port {port} on {host}; choose one above 1023, such as PORT=8000."
    return f"Port {port} on {host} cannot be used: {error.strerror or error}."


def file_sentence(error: OSError, path: Path, purpose: str) -> StackError:
    """A ``StackError`` for an ``OSError`` at ``path``."""
    if error.errno == errno.ENOSPC:
        return StackError(f"The disk is full: there is no space left to {purpose} in {path}.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StackError(
            f"This account may not {purpose} in {path}; give it the folder, or set SLM_HOME to another one."
        )
    return StackError(f"Could not {purpose} in {path}: {error.strerror or error}.")


def log_sentence(name: str, log: Path) -> StackError:
    """A ``StackError`` for a server that did not start, from the last lines of its log."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-40:]
    except OSError:
        lines = []
    if any("No space left on device" in line for line in lines):
        return StackError(f"{name} did not start because the disk is full; its log is {log}.")
    signs = ("FATAL", "PANIC", "ERROR", "error:", "Fatal", " # ")
    errors = [line for line in lines if "WARNING" not in line and any(sign in line for sign in signs)]
    last_line = (errors or lines or ["it is empty"])[-1].strip()
    return StackError(f"{name} did not start; its log {log} ends with: {last_line}")
