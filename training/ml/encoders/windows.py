"""A document as windows of tokens, and places of its text as tokens of a window."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: share of a window that the next one repeats
OVERLAP = 0.25
#: letters and digits by which a stretch is completed at an end
_MAX_COMPLETED = 100


@dataclass(frozen=True)
class TokenWindow:
    """``tokens``: ids with the special tokens. ``starts`` and ``ends``: characters of the document, of the tokens
    ``first`` to ``first + len(starts)``; the others are special.
    """

    tokens: list[int]
    first: int
    starts: list[int]
    ends: list[int]

    def span_of(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last token of the characters ``start`` to ``end``; None if they are not all here."""
        if not self.starts or start < self.starts[0] or end > self.ends[-1]:
            return None
        low, high = bisect_right(self.ends, start), bisect_left(self.starts, end) - 1
        return (self.first + low, self.first + high) if low <= high else None

    def characters_of(self, low: int, high: int) -> tuple[int, int]:
        """The characters of the tokens ``low`` to ``high``, which are not special."""
        return self.starts[low - self.first], self.ends[high - self.first]


def windows_of(tokenizer: Any, text: str, size: int, line_break: int | None = None) -> list[TokenWindow]:
    """The windows of a text, of at most ``size`` tokens with the special ones. ``tokenizer``: of the library
    ``tokenizers``, without truncation. ``line_break``: the token between lines; see ``line_break_of``.
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids, offsets = encoding.ids, encoding.offsets
    if line_break is not None:
        ids, offsets = _with_line_breaks(text, ids, offsets, line_break)
    head, tail = special_tokens(tokenizer)
    room = size - len(head) - len(tail)
    step = max(1, room - int(room * OVERLAP))
    begins = range(0, max(1, len(ids) - room + step), step)
    return [_window(ids[at : at + room], offsets[at : at + room], head, tail) for at in begins]


def is_in_word(text: str, at: int, *, digits_apart: bool) -> bool:
    """Whether a character goes on with the word, a run of letters and digits, of the one before. ``digits_apart``: a
    word is a run of letters, or of digits.
    """
    before, after = text[at - 1 : at], text[at : at + 1]
    return before.isalnum() and after.isalnum() and not (digits_apart and before.isalpha() != after.isalpha())


def whole_words(text: str, start: int, end: int, *, digits_apart: bool) -> tuple[int, int]:
    """A stretch with all of the words in which it begins and ends."""
    low, high = max(0, start - _MAX_COMPLETED), end + _MAX_COMPLETED
    while start > low and is_in_word(text, start, digits_apart=digits_apart):
        start -= 1
    while end < high and is_in_word(text, end, digits_apart=digits_apart):
        end += 1
    return start, end


def line_break_of(tokenizer: Any) -> int | None:
    """A token for the breaks between lines, where the tokenizer drops them: the one that ends a text. Lines are where
    the values of receipts and invoices begin and end. None where the tokenizer keeps line breaks.
    """
    broken, blank = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("a\nb", "a b"))
    tail = special_tokens(tokenizer)[1]
    return tail[0] if tail and broken == blank else None


def _with_line_breaks(
    text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], line_break: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens with one more before each that begins a line; it has the place of the line break."""
    tokens, places, read = list[int](), list[tuple[int, int]](), 0
    for token, (start, end) in zip(ids, offsets, strict=True):
        # Up to the end: the blank before a word is a part of some tokens.
        at = text.find("\n", read, end)
        if at >= 0:
            tokens.append(line_break)
            places.append((at, at + 1))
        tokens.append(token)
        places.append((start, end))
        read = max(read, end)
    return tokens, places


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    encoding = tokenizer.encode("a")
    inner = [at for at, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]


def _window(ids: Sequence[int], offsets: Sequence[tuple[int, int]], head: list[int], tail: list[int]) -> TokenWindow:
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    return TokenWindow([*head, *ids, *tail], len(head), starts, ends)


def window_arrays(windows: Sequence[TokenWindow], pad: int) -> dict[str, Any]:
    """The inputs of the network for windows, padded on the right with the token ``pad``, as numpy arrays."""
    tokens = max(len(window.tokens) for window in windows)
    ids = np.full((len(windows), tokens), pad, np.int64)
    mask, inner = np.zeros_like(ids), np.zeros(ids.shape, np.bool_)
    for at, window in enumerate(windows):
        ids[at, : len(window.tokens)] = window.tokens
        mask[at, : len(window.tokens)] = 1
        inner[at, window.first : window.first + len(window.starts)] = True
    return {"input_ids": ids, "attention_mask": mask, "inner": inner}
