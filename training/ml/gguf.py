"""What a GGUF file says of its tokenizer, and a tokenizer that does as it says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.ml.events import Refused

_CONTROL = 3  # tokenizer.ggml.token_type of control tokens such as <|im_end|>


@dataclass(frozen=True)
class Header:
    """The fields of a GGUF header that we use. ``control_tokens`` are the texts of its special tokens."""

    pre_tokenizer: str
    license: str
    control_tokens: tuple[str, ...]


def read_header(path: Path) -> Header:
    """Reads the header of a GGUF file; Refused where the file is missing."""
    from gguf import GGUFReader

    if not path.is_file():
        raise Refused("model", f"{path.name} is missing from its package.")
    fields = GGUFReader(path).fields
    types = fields["tokenizer.ggml.token_type"].contents()
    tokens = fields["tokenizer.ggml.tokens"].contents()
    return Header(
        pre_tokenizer=str(fields["tokenizer.ggml.pre"].contents()),
        license=str(fields["general.license"].contents()) if "general.license" in fields else "",
        control_tokens=tuple(text for text, kind in zip(tokens, types, strict=True) if kind == _CONTROL),
    )


def right_tokenizer(path: Path, header: Header) -> Any:
    """The tokenizer of a GGUF file with the pre-tokenizer that its header names.

    The one that transformers makes lacks it: for SmolLM2 it does not split numbers into digits, and its token ids then
    differ from those the model was trained with (and from llama.cpp's) on every document with a number in it. Control
    tokens become special tokens, as in the model's own tokenizer.
    """
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import AutoTokenizer

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    known = {
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]),
        "gpt-2": byte_level,
    }
    if header.pre_tokenizer not in known:
        raise Refused("model", f"The model's pre-tokenizer {header.pre_tokenizer} is not known here.")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.backend_tokenizer.pre_tokenizer = known[header.pre_tokenizer]
    tokenizer.backend_tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in header.control_tokens]
    )
    return tokenizer
