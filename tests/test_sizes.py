"""Sizes in bytes have one format on pages, in messages and in commands."""

import pytest
from django.template import engines

from slmstudio.storage.sizes import format_bytes


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (900, "900 bytes"),
        (3 * 2**20, "3 MB"),
        (960_000_000, "1.0 GB"),
        (1_710_000_000, "1.7 GB"),
        (9_970_000_000, "10 GB"),
        (16e9, "16 GB"),
    ],
)
def test_sizes_are_in_thousands_and_short(number: float, words: str) -> None:
    assert format_bytes(number) == words


def test_size_filter() -> None:
    drawn = engines["django"].from_string("{{ size|format_bytes }} {{ none|format_bytes }} {{ missing|format_bytes }}")
    assert drawn.render({"size": 1_710_000_000, "none": None}) == "1.7 GB – –"
