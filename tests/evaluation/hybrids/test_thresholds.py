"""The thresholds of a hybrid model."""

from evaluation.hybrids.thresholds import AnsweredField, answered_fields, choose_thresholds, is_in
from slmstudio.contract.schema.compiled import compile_schema
from training.encoders.heads import plan_heads


def answers(*rows: tuple[float, bool, bool]) -> list[AnsweredField]:
    return [AnsweredField("total", *row) for row in rows]


def test_the_decoder_answers_below_the_threshold_with_the_fewest_errors() -> None:
    unsure = [(number / 20, False, True) for number in range(1, 8)]
    rows = answers((0.9, True, False), *unsure, (0.6, True, True), (0.8, False, False))
    [total] = choose_thresholds(rows)
    assert 0.35 < total.threshold < 0.6
    assert (total.asked, total.wrong, total.encoder_wrong, total.decoder_wrong) == (7, 1, 8, 2)


def test_a_gain_that_may_be_noise_leaves_the_field_to_the_encoder() -> None:
    four = [(0.1 + number / 100, False, True) for number in range(4)]
    [total] = choose_thresholds(answers(*four, (0.9, True, True)))
    assert (total.threshold, total.asked, total.wrong, total.encoder_wrong) == (0.0, 0, 4, 4)
    [total] = choose_thresholds(answers(*four, (0.2, False, True), (0.9, True, True)))
    assert (total.asked, total.wrong) == (5, 0)
    # as many errors less at the best of many thresholds, by chance
    mixed = [(0.3 + number / 100, bool(number % 2), not number % 2) for number in range(40)]
    [total] = choose_thresholds(answers(*four, (0.2, True, False), (0.21, False, True), *mixed))
    assert total.asked == 0


def test_a_threshold_is_as_exact_as_the_probabilities() -> None:
    [total] = choose_thresholds(answers(*[(0.999981, False, True)] * 6, (0.999984, True, False)))
    assert 0.999981 < total.threshold < 0.999984


def test_without_a_gain_the_decoder_is_never_asked() -> None:
    [total] = choose_thresholds(answers((0.2, False, False), (0.9, True, True)))
    assert (total.threshold, total.asked) == (0.0, 0)


def test_a_decoder_that_is_always_better_answers_always() -> None:
    [total] = choose_thresholds(answers(*[(number / 6, False, True) for number in range(1, 7)]))
    assert total.threshold > 1


def test_equal_probabilities_fall_on_one_side() -> None:
    rows = answers(*[(0.5, False, True)] * 8, *[(0.5, True, False)] * 9)
    [total] = choose_thresholds(rows)
    assert total.asked == 0


def test_a_list_is_one_field_also_where_a_column_has_no_head() -> None:
    columns = {"name": {"type": "string"}, "note": {"type": "string", "x-slm": {"kind": "free"}}}
    items = {"type": "array", "items": {"type": "object", "properties": columns}}
    compiled = compile_schema({"type": "object", "properties": {"items": items}})
    [column] = plan_heads(compiled).unanswered
    assert answered_fields(compiled) == ["items"]
    assert column.pattern == "items[].note"
    assert is_in(column.pattern, "items")
