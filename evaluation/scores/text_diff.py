"""Where two values differ, character by character. Pure."""

LONGEST_DIFF = 4000


def diff_chars(a: str, b: str) -> list[tuple[str, str]]:
    """The characters that differ: ("equal" | "delete" | "insert", text) pieces that turn ``a`` into ``b``.

    The parts kept and deleted, joined, give ``a``; those kept and inserted give ``b``. Beyond the common
    start and end, texts of more than ``LONGEST_DIFF`` characters count as entirely different.
    """
    from rapidfuzz.distance import Levenshtein

    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [("equal", a[:start])]
    if max(len(old), len(new)) > LONGEST_DIFF:
        pieces += [("delete", old), ("insert", new)]
    else:
        for step in Levenshtein.opcodes(old, new):
            kept, added = old[step.src_start : step.src_end], new[step.dest_start : step.dest_end]
            if step.tag == "equal":
                pieces.append(("equal", kept))
            else:
                pieces += [("delete", kept), ("insert", added)]
    pieces.append(("equal", a[len(a) - end :]))
    return [(op, text) for op, text in pieces if text]


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their start: halved, not walked, because texts may be long."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
