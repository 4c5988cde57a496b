"""How sure a model was of a field, from the tokens of its value alone."""

import math

import pytest

from evaluation.inference.confidence import per_field, spans


def tokens(*pieces: tuple[str, float]) -> tuple[str, list[int], list[float]]:
    """A text with the end and the log-probability of each of its tokens."""
    text, ends = "", []
    for piece, _ in pieces:
        text += piece
        ends.append(len(text))
    return text, ends, [math.log(probability) for _, probability in pieces]


def test_a_field_is_as_sure_as_the_least_sure_token_of_its_value() -> None:
    fields = per_field(
        *tokens(('{"a', 0.01), ('":"', 0.9), ("AC", 0.8), ("ME", 0.5), ('","', 0.7), ("b", 0.02), ('":', 0.03),
                ("12", 0.95), ("}", 0.6))
    )  # fmt: skip
    assert fields["a"].minimum == pytest.approx(0.5)
    assert fields["a"].mean == pytest.approx((0.9 * 0.8 * 0.5 * 0.7) ** 0.25)
    assert fields["b"].minimum == pytest.approx(0.6), "a number ends where something else begins"


def test_null_and_words_have_one_and_names_have_none() -> None:
    fields = per_field(*tokens(('{"a":', 0.1), ("null", 0.4), (',"b":', 0.99), ("true", 0.9), ("}", 1.0)))
    assert fields["a"].minimum == pytest.approx(0.4)
    assert fields["b"].minimum == pytest.approx(0.9)
    assert set(fields) == {"a", "b"}


def test_rows_and_groups_have_paths_like_the_contract() -> None:
    text = '{ "g": {"x": "1"}, "rows": [ {"a": 1}, {"a": null} ], "odd.name": "v", "empty": [], "none": {} }'
    places = spans(text)
    assert set(places) == {"g.x", "rows[0].a", "rows[1].a", '["odd.name"]'}
    assert text[slice(*places["g.x"])] == '"1"'
    assert text[slice(*places["rows[0].a"])] == "1}"


def test_what_is_cut_off_or_no_json_has_the_fields_that_are_complete() -> None:
    for text in ('{"a":', "", "sorry", '{"a" "b"}', "[" * 5000, '{"a":' * 5000):
        assert set(spans(text)) == set()
    for text in ('{"a":"one","b":"tw', 'x {"a":"b"} y'):
        assert set(spans(text)) == {"a"}


def test_letters_of_several_tokens_count_to_their_letter() -> None:
    # A letter of four bytes is written in four tokens, of which only the first makes the text longer.
    text = '{"a":"😀"}'
    fields = per_field(text, [6, 7, 7, 7, 8, 9], [0.0, 0.0, math.log(0.25), 0.0, 0.0, 0.0])
    assert fields["a"].minimum == pytest.approx(0.25)


def test_values_that_are_no_probabilities_do_not_count() -> None:
    text = '{"a":"b"}'
    assert per_field(text, [9], [math.nan]) == {}
    assert per_field(text, [9], [0.3])["a"].minimum == 1.0
    assert per_field(text, [9], [-math.inf])["a"].minimum == 0.0
    with pytest.raises(ValueError, match="1 tokens with 2"):
        per_field(text, [9], [0.1, 0.2])
