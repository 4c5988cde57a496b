"""Uploads are scanned by ClamAV where its address is set. A server of the test answers as its daemon does."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.core.files.base import ContentFile

from labeling.imports import uploads
from slmstudio.errors import Refused
from slmstudio.storage import virus_scan

VIRUS = b"a harmless virus"


class _Daemon(socketserver.StreamRequestHandler):
    """INSTREAM of clamd, with a limit of 100,000 bytes."""

    def handle(self) -> None:
        assert self.rfile.read(10) == b"zINSTREAM\0"
        data = b""
        while size := struct.unpack("!L", self.rfile.read(4))[0]:
            data += self.rfile.read(size)
        if len(data) > 100_000:
            self.wfile.write(b"INSTREAM size limit exceeded. ERROR\0")
        else:
            self.wfile.write(b"stream: Test.Virus FOUND\0" if VIRUS in data else b"stream: OK\0")


@pytest.fixture
def daemon(settings: Any) -> Iterator[None]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Daemon) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.CLAMD = f"127.0.0.1:{server.server_address[1]}"
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("content", "code"), [(VIRUS, "virus"), (b"x" * 100_001, "scanner")])
def test_an_upload_that_is_not_clean_is_refused(daemon: None, content: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        uploads.store_upload(files=[ContentFile(content, name="a.txt")])
    assert (refused.value.code, refused.value.field) == (code, "file")


def test_several_files_are_scanned_as_one(daemon: None) -> None:
    files = [ContentFile(b"fine", name="a.txt"), ContentFile(VIRUS, name="b.txt")]
    with pytest.raises(Refused) as refused:
        uploads.store_upload(files=files)
    assert refused.value.code == "virus"


def test_a_clean_upload_is_stored_whole(daemon: None) -> None:
    file = BytesIO(b"a clean text")
    file.read()
    virus_scan.require_clean(file, "a.txt")
    assert file.read() == b"a clean text"


def test_nothing_is_stored_without_the_scanner(settings: Any) -> None:
    settings.CLAMD = "unix:/nowhere/clamd.ctl"
    with pytest.raises(Refused) as refused:
        uploads.store_upload(files=[ContentFile(b"text", name="a.txt")])
    assert refused.value.code == "scanner"
    settings.CLAMD = ""
    virus_scan.require_clean(BytesIO(VIRUS), "a.txt")
