"""GGUF headers, and the tokenizer of a GGUF file.

The file is untrusted: every length in its header is checked against the size of the file before anything else reads it
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused

_CONTROL = 3  # tokenizer.ggml.token_type of control tokens such as <|im_end|>
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type of a value -> bytes
_STRING, _ARRAY = 8, 9
MAX_KEYS, MAX_TENSORS, MAX_DEPTH = 10_000, 100_000, 2


@dataclass(frozen=True)
class Header:
    """The fields of a GGUF header in use. ``control_tokens``: texts of its special tokens.

    ``tokenizer`` is the kind of tokenizer (gpt2: byte-level BPE, llama: SentencePiece); ``pre_tokenizer`` its way of
    splitting words.
    """

    architecture: str
    tokenizer: str
    pre_tokenizer: str
    license: str
    control_tokens: tuple[str, ...]


class GgufReader:
    """Reads a header; every length is checked against the end of the file."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data, self.name, self.position = data, name, 0

    def error(self, problem: str) -> Refused:
        return Refused(f"{self.name} is not a valid GGUF file: {problem}.", code="model")

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        self.skip(size)
        return struct.unpack_from(form, self.data, self.position - size)[0]

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.position:
            raise self.error("a length in its header points past its end")
        self.position += size

    def value(self, kind: int, depth: int = 0) -> None:
        """Skips one value."""
        if kind in _SCALARS:
            self.skip(_SCALARS[kind])
        elif kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind == _ARRAY and depth < MAX_DEPTH:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SCALARS:
                self.skip(count * _SCALARS[inner])
                return
            if count * 8 > len(self.data) - self.position:
                raise self.error("a list in its header is longer than the file")
            for _ in range(count):
                self.value(inner, depth + 1)
        else:
            raise self.error(f"it has a value of the unknown kind {kind}")


def check_file(path: Path) -> None:
    """Checks the whole header; raises Refused where the file is missing, truncated, or has invalid lengths."""
    if not path.is_file():
        raise Refused(f"{path.name} is missing.", code="model")
    if path.stat().st_size < 24:
        raise Refused(f"{path.name} is not a GGUF file: it is too short.", code="model")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = GgufReader(data, path.name)
        if data[:4] != b"GGUF":
            raise Refused(f"{path.name} is not a GGUF file.", code="model")
        reader.skip(4)
        version = reader.number("<I")
        if version not in (2, 3):
            raise reader.error(f"version {version} is not supported (2 and 3 are)")
        tensors, keys = reader.number("<Q"), reader.number("<Q")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise reader.error(f"it claims {tensors:,} tensors and {keys:,} keys")
        for _ in range(keys):
            reader.skip(reader.number("<Q"))
            reader.value(reader.number("<I"))
        for _ in range(tensors):
            _tensor(reader)


def _tensor(reader: GgufReader) -> None:
    """Checks the description of one tensor: name, dimensions, type, offset."""
    reader.skip(reader.number("<Q"))
    dimensions = reader.number("<I")
    if dimensions > 4:
        raise reader.error(f"a tensor has {dimensions:,} dimensions")
    numbers = 1
    for _ in range(dimensions):
        numbers *= reader.number("<Q")
    reader.skip(4)
    offset = reader.number("<Q")
    # no type stores a number in less than a bit
    if offset > len(reader.data) or numbers > 8 * len(reader.data):
        raise reader.error("a tensor is larger than the file")


@contextmanager
def one_reading() -> Iterator[None]:
    """In this block a GGUF file is parsed once, and the table of its tensors' names is made once.

    transformers parses the file anew for the config, the tokenizer and the weights, and makes the table for each module
    of the model. The memory map is read as a plain array: a ``numpy.memmap`` makes a new map object of each of the
    150,000 slices that a header has, which takes three times as long.
    """
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    own = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    cached = (lru_cache(Reader), lru_cache(gguf.get_tensor_name_map))
    try:
        for name, function in zip(own, cached, strict=True):
            setattr(gguf, name, function)
        yield
    finally:
        for name, function in own.items():
            setattr(gguf, name, function)


def read_header(path: Path) -> Header:
    """Reads the header of a GGUF file.

    Raises:
        Refused: the file is missing, is not a valid GGUF file, or has no tokenizer.
    """
    from gguf import GGUFReader

    check_file(path)
    fields = GGUFReader(path).fields

    def text(key: str) -> str:
        return str(fields[key].contents()) if key in fields else ""

    if "tokenizer.ggml.tokens" not in fields or "tokenizer.ggml.token_type" not in fields:
        raise Refused(f"{path.name} has no tokenizer.", code="model")
    types = fields["tokenizer.ggml.token_type"].contents()
    tokens = fields["tokenizer.ggml.tokens"].contents()
    if len(types) != len(tokens):
        raise Refused(
            f"{path.name} is not a valid GGUF file: {len(tokens)} tokens have {len(types)} types.", code="model"
        )
    return Header(
        architecture=text("general.architecture"),
        tokenizer=text("tokenizer.ggml.model"),
        pre_tokenizer=text("tokenizer.ggml.pre"),
        license=text("general.license"),
        control_tokens=tuple(token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL),
    )


def tokenizer_from_gguf(path: Path, header: Header) -> Any:
    """The tokenizer of a GGUF file, with the pre-tokenizer that its header names.

    transformers drops it for byte-level files: for SmolLM2 numbers are then not split into digits, and token ids differ
    from those in training (and in llama.cpp) on every document with a number. Control tokens become special tokens, as
    in the model's own tokenizer. Gemma's, from a SentencePiece file, needs no change. Both are compared with llama.cpp
    in a test, and by ``prepare`` where it is installed.

    Raises:
        Refused: the tokenizer is not one of those that are tested.
    """
    needs_no_change = header.architecture == "gemma3" and (header.tokenizer, header.pre_tokenizer) == (
        "llama",
        "default",
    )
    if not needs_no_change and (header.tokenizer, header.pre_tokenizer) not in (("gpt2", "smollm"), ("gpt2", "gpt-2")):
        named = f"{header.tokenizer} {header.pre_tokenizer}"
        raise Refused(f"The tokenizer {named} of {path.name} is not supported.", code="model")
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if not needs_no_change:
        splitter: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if header.pre_tokenizer == "smollm":
            splitter = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), splitter])
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.backend_tokenizer.add_special_tokens(
            [AddedToken(text, special=True, normalized=False) for text in header.control_tokens]
        )
    return tokenizer
