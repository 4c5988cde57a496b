"""Windows cover a text, fit, overlap, and are the same every time."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from slmstudio.contract.windows.windows import OVERLAP_LINES, split_windows

WORDS = st.lists(st.sampled_from(["one", "two words", "", " ", "x" * 30, "\f", "12.50"]), max_size=60)


@settings(max_examples=150, deadline=None)
@given(WORDS.map("\n".join), st.integers(1, 60), st.booleans())
def test_windows_cover_the_text_within_the_limit_and_overlap(text: str, limit: int, by_words: bool) -> None:
    def count(part: str) -> int:
        return len(part.split()) if by_words else len(part)

    windows = split_windows(text, limit=limit, count=count)
    assert windows == split_windows(text, limit=limit, count=count)
    assert windows[0].start == 0
    assert windows[-1].end == len(text)
    assert all(window.text == text[window.start : window.end] and count(window.text) <= limit for window in windows)
    for window, following in pairwise(windows):
        assert window.start < following.start <= window.end < following.end
    assert (len(windows) == 1) == (count(text) <= limit)


def test_the_last_lines_of_a_window_are_the_first_of_the_next() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    windows = split_windows(text, limit=200, count=len)
    for window, following in pairwise(windows):
        shared = text[following.start : window.end]
        assert shared.count("\n") == OVERLAP_LINES
        assert text[following.start - 1] == "\n"


def test_a_window_ends_with_a_page_where_it_can() -> None:
    pages = ["\n".join(f"page {page} line {number}" for number in range(8)) for page in range(4)]
    text = "\n\f".join(pages)
    limit = len(pages[0]) + 60
    assert [window.text[-1] for window in split_windows(text, limit=limit, count=len)[:-1]] == ["\f"] * 3
    blank = "\n\n".join(pages)
    assert all(window.text.endswith("\n\n") for window in split_windows(blank, limit=limit, count=len)[:-1])


def test_a_line_longer_than_a_window_is_cut_between_words() -> None:
    text = "word " * 200
    windows = split_windows(text, limit=100, count=len)
    assert all(window.text.startswith("word") for window in windows)
    assert all(len(window.text) <= 100 for window in windows)
