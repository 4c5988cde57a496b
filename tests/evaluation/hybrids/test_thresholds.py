"""The thresholds of a hybrid model."""

from evaluation.hybrids.thresholds import AnsweredField, answered_fields, choose_thresholds, is_in
from slmstudio.contract.schema.compiled import compile_schema
from training.encoders.heads import plan_heads


def answers(*rows: tuple[float, bool, bool]) -> list[AnsweredField]:
    return [AnsweredField("total", *row) for row in rows]


def test_the_decoder_answers_below_the_threshold_with_the_fewest_errors() -> None:
    rows = answers((0.9, True, False), (0.2, False, True), (0.4, False, True), (0.6, True, True), (0.8, False, False))
    [total] = choose_thresholds(rows)
    assert 0.4 < total.threshold < 0.6
    assert (total.asked, total.wrong, total.encoder_wrong, total.decoder_wrong) == (2, 1, 3, 2)


def test_a_threshold_is_as_exact_as_the_probabilities() -> None:
    [total] = choose_thresholds(answers((0.999981, False, True), (0.999984, True, False)))
    assert 0.999981 < total.threshold < 0.999984


def test_without_a_gain_the_decoder_is_never_asked() -> None:
    [total] = choose_thresholds(answers((0.2, False, False), (0.9, True, True)))
    assert (total.threshold, total.asked) == (0.0, 0)


def test_a_decoder_that_is_always_better_answers_always() -> None:
    [total] = choose_thresholds(answers((0.5, False, True), (1.0, False, True)))
    assert total.threshold > 1


def test_equal_probabilities_fall_on_one_side() -> None:
    [total] = choose_thresholds(answers((0.5, False, True), (0.5, True, False), (0.5, True, False)))
    assert total.asked == 0


def test_a_list_is_one_field_also_where_a_column_has_no_head() -> None:
    columns = {"name": {"type": "string"}, "note": {"type": "string", "x-slm": {"kind": "free"}}}
    items = {"type": "array", "items": {"type": "object", "properties": columns}}
    compiled = compile_schema({"type": "object", "properties": {"items": items}})
    [column] = plan_heads(compiled).unanswered
    assert answered_fields(compiled) == ["items"]
    assert column.pattern == "items[].note"
    assert is_in(column.pattern, "items")
