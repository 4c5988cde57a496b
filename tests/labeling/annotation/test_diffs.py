"""What changed between two values or texts."""

from decimal import Decimal

from labeling.annotation.diffs import DiffLine, FieldChange, TextSpan, compare_lines, compare_words, field_changes


def test_field_changes() -> None:
    old = {"a": 1, "rows": [{"x": "1"}, {"x": "2"}], "gone": "g"}
    new = {"a": 2, "rows": [{"x": "1"}, {"x": "3"}], "fresh": None}
    assert field_changes(old, new) == [
        FieldChange("a", "1", "2"),
        FieldChange("rows[1].x", "2", "3"),
        FieldChange("fresh", None, "null"),
        FieldChange("gone", "g", None),
    ]
    # Digits and types differ, the order of names does not; empty lists and objects are values.
    assert field_changes({"a": Decimal("1.50"), "b": "null"}, {"b": None, "a": Decimal("1.5")}) == [
        FieldChange("b", "null", "null"),
        FieldChange("a", "1.50", "1.5"),
    ]
    assert field_changes({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []
    assert field_changes({}, {"rows": [], "o": {}}) == [FieldChange("rows", None, "[]"), FieldChange("o", None, "{}")]


def test_lines() -> None:
    assert compare_lines("a\nb\nc", "a\nB\nc") == [
        DiffLine("@", ""),
        DiffLine(" ", "a"),
        DiffLine("-", "b"),
        DiffLine("+", "B"),
        DiffLine(" ", "c"),
    ]
    assert compare_lines("same", "same") == []


def test_differing_words_are_marked_per_side() -> None:
    old, new = compare_words("Total 1.50 EUR", "Total 1.60 EUR net")
    assert old == [TextSpan("Total 1.", False), TextSpan("50", True), TextSpan(" EUR", False)]
    assert new == [TextSpan("Total 1.", False), TextSpan("60", True), TextSpan(" EUR", False), TextSpan(" net", True)]
    assert compare_words("", "a") == ([], [TextSpan("a", True)])


def test_marked_spans_contain_all_characters() -> None:
    texts = ["ä\t– 1,5\r\n\N{RIGHT-TO-LEFT OVERRIDE}x" * 300, "ä\t– 1.5\n x" * 300]
    assert ["".join(part.text for part in side) for side in compare_words(*texts)] == texts
