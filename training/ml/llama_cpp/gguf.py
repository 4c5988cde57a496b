"""What a GGUF file says of its tokenizer, and a tokenizer that does as it says.

The file is somebody else's: its header is walked with every length held against the size of the file before anything
else reads it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused

_CONTROL = 3  # tokenizer.ggml.token_type of control tokens such as <|im_end|>
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type of a value -> bytes
_STRING, _ARRAY = 8, 9
_MOST_KEYS, _MOST_TENSORS, _DEEPEST = 10_000, 100_000, 2


@dataclass(frozen=True)
class Header:
    """The fields of a GGUF header that we use. ``control_tokens`` are the texts of its special tokens.

    ``tokenizer`` is the kind of tokenizer (gpt2: byte-level BPE, llama: SentencePiece); ``pre_tokenizer`` its way of
    splitting words.
    """

    architecture: str
    tokenizer: str
    pre_tokenizer: str
    license: str
    control_tokens: tuple[str, ...]


class _Walk:
    """A place in the file. Every read is held against its end."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def refuse(self, why: str) -> Refused:
        return Refused(f"{self.name} is no sound GGUF file: {why}.", code="model")

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        self.skip(size)
        return struct.unpack_from(form, self.data, self.at - size)[0]

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise self.refuse("a length in its header points past its end")
        self.at += size

    def value(self, kind: int, depth: int = 0) -> None:
        """Walks over one value of a key."""
        if kind in _SCALARS:
            self.skip(_SCALARS[kind])
        elif kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SCALARS:
                self.skip(count * _SCALARS[inner])
                return
            if count * 8 > len(self.data) - self.at:
                raise self.refuse("a list in its header is longer than the file")
            for _ in range(count):
                self.value(inner, depth + 1)
        else:
            raise self.refuse(f"it has a value of the unknown kind {kind}")


def check_file(path: Path) -> None:
    """Walks the whole header; raises Refused where the file is missing, cut off, or lies about its lengths."""
    if not path.is_file():
        raise Refused(f"{path.name} is missing.", code="model")
    if path.stat().st_size < 24:
        raise Refused(f"{path.name} is no GGUF file: it is too short.", code="model")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(data, path.name)
        if data[:4] != b"GGUF":
            raise Refused(f"{path.name} is no GGUF file.", code="model")
        walk.skip(4)
        version = walk.number("<I")
        if version not in (2, 3):
            raise walk.refuse(f"its version is {version}, and 2 and 3 are known")
        tensors, keys = walk.number("<Q"), walk.number("<Q")
        if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
            raise walk.refuse(f"it claims {tensors:,} tensors and {keys:,} keys")
        for _ in range(keys):
            walk.skip(walk.number("<Q"))
            walk.value(walk.number("<I"))
        for _ in range(tensors):
            _tensor(walk)


def _tensor(walk: _Walk) -> None:
    """Walks over the description of one tensor: name, dimensions, type, and where in the data it begins."""
    walk.skip(walk.number("<Q"))
    dimensions = walk.number("<I")
    if dimensions > 4:
        raise walk.refuse(f"a tensor has {dimensions:,} dimensions")
    numbers = 1
    for _ in range(dimensions):
        numbers *= walk.number("<Q")
    walk.skip(4)
    offset = walk.number("<Q")
    # no type stores a number in less than a bit
    if offset > len(walk.data) or numbers > 8 * len(walk.data):
        raise walk.refuse("a tensor is larger than the file")


def read_header(path: Path) -> Header:
    """Reads the header of a GGUF file.

    Raises:
        Refused: the file is missing, is no sound GGUF file, or names no tokenizer.
    """
    from gguf import GGUFReader

    check_file(path)
    fields = GGUFReader(path).fields

    def text(key: str) -> str:
        return str(fields[key].contents()) if key in fields else ""

    if "tokenizer.ggml.tokens" not in fields or "tokenizer.ggml.token_type" not in fields:
        raise Refused(f"{path.name} holds no tokenizer.", code="model")
    types = fields["tokenizer.ggml.token_type"].contents()
    tokens = fields["tokenizer.ggml.tokens"].contents()
    if len(types) != len(tokens):
        raise Refused(f"{path.name} is no sound GGUF file: {len(tokens)} tokens have {len(types)} kinds.", code="model")
    return Header(
        architecture=text("general.architecture"),
        tokenizer=text("tokenizer.ggml.model"),
        pre_tokenizer=text("tokenizer.ggml.pre"),
        license=text("general.license"),
        control_tokens=tuple(one for one, kind in zip(tokens, types, strict=True) if kind == _CONTROL),
    )


def right_tokenizer(path: Path, header: Header) -> Any:
    """The tokenizer of a GGUF file with the pre-tokenizer that its header names.

    The one that transformers makes from a byte-level file lacks it: for SmolLM2 it does not split numbers into digits,
    and its token ids then differ from those the model was trained with (and from llama.cpp's) on every document with a
    number in it. Control tokens become special tokens, as in the model's own tokenizer. Gemma's, which is made from a
    SentencePiece file, is right as it comes. Both are held against llama.cpp in a test, and where it is installed by
    ``prepare``.

    Raises:
        Refused: the header names a tokenizer that nobody has compared yet.
    """
    as_it_comes = header.architecture == "gemma3" and (header.tokenizer, header.pre_tokenizer) == ("llama", "default")
    if not as_it_comes and (header.tokenizer, header.pre_tokenizer) not in (("gpt2", "smollm"), ("gpt2", "gpt-2")):
        named = f"{header.tokenizer} {header.pre_tokenizer}"
        raise Refused(f"The tokenizer {named} of {path.name} is not known here.", code="model")
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if not as_it_comes:
        splitter: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if header.pre_tokenizer == "smollm":
            splitter = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), splitter])
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.backend_tokenizer.add_special_tokens(
            [AddedToken(text, special=True, normalized=False) for text in header.control_tokens]
        )
    return tokenizer
