"""What changed between two values or texts."""

from decimal import Decimal

from labeling.annotation.diffs import DiffLine, FieldChange, TextSpan, compare_lines, compare_words, field_changes


def test_changed_added_and_removed_fields_in_order() -> None:
    old = {"a": 1, "rows": [{"x": "1"}, {"x": "2"}], "gone": "g"}
    new = {"a": 2, "rows": [{"x": "1"}, {"x": "3"}], "fresh": None}
    assert field_changes(old, new) == [
        FieldChange("a", "1", "2"),
        FieldChange("rows[1].x", "2", "3"),
        FieldChange("fresh", None, "null"),
        FieldChange("gone", "g", None),
    ]


def test_digits_and_types_differ_but_order_does_not() -> None:
    assert field_changes({"a": Decimal("1.50"), "b": "null"}, {"b": None, "a": Decimal("1.5")}) == [
        FieldChange("b", "null", "null"),
        FieldChange("a", "1.50", "1.5"),
    ]
    assert field_changes({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []


def test_empty_lists_and_objects_are_values() -> None:
    assert field_changes({}, {"rows": [], "o": {}}) == [FieldChange("rows", None, "[]"), FieldChange("o", None, "{}")]
    assert field_changes({}, {}) == []


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
    one, other = compare_words("Total 1.50 EUR", "Total 1.60 EUR net")
    assert one == [TextSpan("Total 1.", False), TextSpan("50", True), TextSpan(" EUR", False)]
    assert other == [TextSpan("Total 1.", False), TextSpan("60", True), TextSpan(" EUR", False), TextSpan(" net", True)]
    assert compare_words("", "a") == ([], [TextSpan("a", True)])


def test_marked_spans_contain_all_characters() -> None:
    one, other = "ä\t– 1,5\r\n\N{RIGHT-TO-LEFT OVERRIDE}x" * 300, "ä\t– 1.5\n x" * 300
    sides = compare_words(one, other)
    assert ["".join(part.text for part in side) for side in sides] == [one, other]
