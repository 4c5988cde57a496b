"""Patterns of schemas: RE2 where it can, a time limit where it cannot."""

import time

import pytest

from slmstudio.contract.schema import patterns
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.schema.patterns import PatternError, compile_pattern, pattern_matches

#: Pydantic's for decimals, zod's for e-mail and durations, and what RE2 refuses besides
LOOKAROUND = [
    (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", ["1", "-0.50", ".5"], ["", "+", "1a", "1\n"]),
    (r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
     ["ana@example.com"], [".a@example.com", "a..b@example.com", "ana"]),
    (r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
     ["P1D", "PT1.5S", "P2W"], ["P", "PT", "P1W2D"]),
    (r"^(a|b)\1$", ["aa", "bb"], ["ab"]),
    (r"(?<=a)b", ["ab"], ["b"]),
    ("^(?:a{999}){3}$", ["a" * 2997], ["a" * 2996]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "matching", "others"), LOOKAROUND)
def test_patterns_beyond_re2_are_matched(pattern: str, matching: list[str], others: list[str]) -> None:
    assert [text for text in matching if not pattern_matches(pattern, text)] == []
    assert [text for text in others if pattern_matches(pattern, text)] == []


def test_a_line_break_at_the_end_is_not_the_end() -> None:
    assert not pattern_matches("^a(?=b)b$", "ab\n")
    assert pattern_matches("(?=a)[$]", "a$") is False
    assert pattern_matches(r"(?=\$)\$", "$")


@pytest.mark.parametrize("pattern", ["(", "[a", "a**(?=b)", r"(?=a)\2"])
def test_invalid_patterns(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_a_slow_pattern_costs_bounded_time() -> None:
    """The pattern is exponential in this text; a document of a thousand such values is checked all the same."""
    slow = r"^(?=a)(a+)+\1$"
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "string", "pattern": slow}}}}
    value = {"rows": ["a" * 40 + "!"] * 1_000}
    began = time.process_time()
    problems = compile_schema(schema).validate(value)
    assert {problem.rule for problem in problems} == {"pattern"}
    assert time.process_time() - began < 4 * patterns.BUDGET_SECONDS + 2
