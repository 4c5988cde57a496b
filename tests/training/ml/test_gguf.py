"""Headers of GGUF files are checked before anything else reads them."""

import struct
from pathlib import Path

import pytest

from slmstudio.errors import Refused
from training.ml.llama_cpp.gguf import Header, check_file, one_reading, read_header, tokenizer_from_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str = "a", numbers: tuple[int, ...] = (4,), offset: int = 0) -> bytes:
    dimensions = struct.pack("<I", len(numbers)) + b"".join(struct.pack("<Q", number) for number in numbers)
    return text(name) + dimensions + struct.pack("<IQ", 0, offset)


def gguf(keys: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None) -> bytes:
    many = counts or (len(tensors), len(keys))
    return b"GGUF" + struct.pack("<IQQ", version, *many) + b"".join(keys + tensors) + bytes(64)


SOUND = gguf(
    [key("general.architecture", 8, text("llama")), key("x", 9, struct.pack("<IQ", 8, 1) + text("word"))], [tensor()]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def reason(file: Path, data: bytes) -> str:
    file.write_bytes(data)
    with pytest.raises(Refused) as caught:
        check_file(file)
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short"),
        (b"PK\x03\x04" + bytes(40), "not a GGUF file"),
        (gguf([], [], version=99), "version 99"),
        (gguf([], [], counts=(2**60, 0)), "claims"),
        (gguf([], [], counts=(0, 2**40)), "claims"),
        (gguf([key("a", 8, struct.pack("<Q", 2**63))], []), "past its end"),
        (gguf([struct.pack("<Q", 2**62)], [], counts=(0, 1)), "past its end"),
        (gguf([key("a", 9, struct.pack("<IQ", 4, 2**61))], []), "past its end"),
        (gguf([key("a", 9, struct.pack("<IQ", 8, 2**50))], []), "longer than the file"),
        (gguf([key("a", 9, (struct.pack("<IQ", 9, 1) * 40))], []), "unknown kind"),
        (gguf([key("a", 77, b"")], []), "unknown kind 77"),
        (gguf([], [tensor(numbers=(2**32, 2**32))]), "larger than the file"),
        (gguf([], [tensor(offset=2**50)]), "larger than the file"),
        (gguf([], [tensor(numbers=(1,) * 9)]), "9 dimensions"),
        (gguf([key("a", 4, b"\0\0\0\0")], [])[:-80], "past its end"),
    ],
)
def test_invalid_header_is_rejected(file: Path, data: bytes, why: str) -> None:
    assert why in reason(file, data)


def test_valid_header_is_accepted_and_a_truncated_one_rejected(file: Path) -> None:
    file.write_bytes(SOUND)
    check_file(file)
    for cut in range(4, len(SOUND) - 64):
        assert reason(file, SOUND[:cut])


def test_missing_file_or_tokenizer_is_rejected(file: Path) -> None:
    with pytest.raises(Refused, match="missing"):
        check_file(file)
    file.write_bytes(SOUND)
    with pytest.raises(Refused, match="no tokenizer"):
        read_header(file)


def test_unknown_tokenizer_is_rejected(file: Path) -> None:
    header = Header("llama", "llama", "deepseek-v9", "", ())
    with pytest.raises(Refused, match="llama deepseek-v9"):
        tokenizer_from_gguf(file, header)


def test_in_one_reading_a_file_is_parsed_once(file: Path) -> None:
    import gguf as library

    file.write_bytes(SOUND)
    own = library.GGUFReader
    alone = library.GGUFReader(file)
    with one_reading():
        read = library.GGUFReader(file)
        assert library.GGUFReader(file) is read
    assert library.GGUFReader is own
    assert read is not alone
    contents = {name: field.contents() for name, field in read.fields.items()}
    assert contents == {name: field.contents() for name, field in alone.fields.items()}
    tensors = [[(part.name, part.data.tolist()) for part in reader.tensors] for reader in (read, alone)]
    assert tensors[0] == tensors[1]
