"""The ranking of unlabeled documents: what comes first, and what stays random."""

import numpy as np
import pytest

from labeling.queue_order import acquisition
from labeling.queue_order.document_ranking import ConfidenceCurves


def test_similar_documents_do_not_follow_each_other_and_new_ones_count_more() -> None:
    sparse = pytest.importorskip("scipy.sparse").csr_matrix
    vectors = sparse(np.array([[1.0, 0], [1, 0], [0, 1]]))
    values = np.array([0.9, 0.8, 0.5])
    assert acquisition.by_value(values) == [0, 1, 2]
    assert acquisition.spread(values, vectors.__getitem__) == [0, 2, 1]
    assert acquisition.spread(values, vectors.__getitem__, head=1) == [0, 1, 2]
    assert acquisition.novelty(vectors[1:], vectors[:1]).tolist() == [0.0, 1.0]


def test_control_places_are_a_uniform_draw() -> None:
    count = 400
    order, control = acquisition.with_control(list(range(count)), 0.25, seed=3)
    assert sorted(order) == list(range(count))
    head = order[:100]
    assert 15 <= len(control.intersection(head)) <= 35
    chosen = [document for document in head if document not in control]
    assert chosen == sorted(chosen)
    assert np.mean([document for document in head if document in control]) > 100
    assert acquisition.with_control(list(range(count)), 0, seed=3) == (list(range(count)), set())


def test_uncertainty_and_disagreement() -> None:
    first = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    second = np.array([[0.0, 0.0, 1.0], [0.9, 0.1, 0.0]])
    assert acquisition.uncertainty(first).tolist() == pytest.approx([1.0, 0.2])
    assert acquisition.disagreement(first, second).tolist() == pytest.approx([1.0, 0.0])


def test_calibration_learns_how_often_a_confidence_is_right() -> None:
    pairs = [(0.9, number % 2 == 0) for number in range(40)] + [(0.5, False)] * 10
    learned = ConfidenceCurves({"total": pairs, "date": [(0.9, False)] * 5}, 50)
    assert learned.field("total", 0.9) == pytest.approx(0.5)
    assert learned.field("total", 0.5) == 0.0
    assert learned.field("date", 0.9) == 0.9
    assert learned.document({"total": 0.9, "date": 0.8}) == pytest.approx(0.4)
