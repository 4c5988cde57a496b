"""The ranking of suspect labels: what confident learning claims, and what planted errors show."""

import random

from evaluation.label_issues.suspects import CheckedLabel, checks_of, rank, summary
from slmstudio.text.classifier import out_of_fold

WORDS = {"card": "card arrive post letter wait", "rate": "rate exchange euro currency fee", "pin": "pin code blocked"}


def texts_with_errors(wrong: int, seed: int = 3) -> tuple[list[str], list[str], set[int]]:
    rng = random.Random(seed)
    labels = [name for name in WORDS for _ in range(40)]
    texts = [" ".join(rng.choices(WORDS[name].split(), k=4)) for name in labels]
    planted = set(rng.sample(range(len(labels)), wrong))
    for at in planted:
        labels[at] = rng.choice([name for name in WORDS if name != labels[at]])
    return texts, labels, planted


def test_planted_errors_come_first() -> None:
    texts, labels, planted = texts_with_errors(6)
    probabilities, classes = out_of_fold(texts, labels)
    checks = checks_of(range(len(texts)), "intent", labels, probabilities, classes)
    ranked = rank(checks)
    assert {check.document for check, _ in ranked[:6]} == planted
    assert all(confident for _, confident in ranked[:6])
    assert summary(checks, ranked) == [{"field": "intent", "checked": 120, "differ": len(ranked), "confident": 6}]


def test_texts_of_a_group_are_never_in_both_parts() -> None:
    texts = ["same text"] * 4 + ["other words"] * 4
    labels = ["a"] * 4 + ["b"] * 4
    probabilities, classes = out_of_fold(texts, labels, groups=[1] * 4 + [2] * 4)
    assert classes == ["a", "b"]
    # Each fold is trained on the other class alone.
    assert probabilities[:4, 0].tolist() == [0.0] * 4
    assert probabilities[4:, 1].tolist() == [0.0] * 4


def test_a_confident_prediction_is_more_suspect_than_a_doubtful_one() -> None:
    right = [CheckedLabel(pk, "total", '"1"', '"1"', 0.9, 0.9) for pk in range(10)]
    sure = CheckedLabel(20, "total", '"1"', '"2"', 0.99, 0.01)
    doubtful = CheckedLabel(21, "total", '"1"', '"3"', 0.5, 0.5)
    ranked = rank([*right, doubtful, sure])
    assert [(check.document, confident) for check, confident in ranked] == [(20, True), (21, False)]


def test_rows_of_a_list_count_as_one_field() -> None:
    checks = [CheckedLabel(1, f"lines[{row}].amount", "1", "1", 1.0, 1.0) for row in range(3)]
    assert summary(checks, []) == [{"field": "lines[].amount", "checked": 3, "differ": 0, "confident": 0}]
