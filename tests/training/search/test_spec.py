"""SearchSpec: YAML, limits, and the chart of its trials."""

from typing import Any

import pytest

from training.search.chart import ChartTrial, parallel_coordinates
from training.search.spec import SearchSpace, SearchSpec
from training.strict_yaml import SpecError, build

SPEC = SearchSpec(dataset=3, base_model="tiny", hours=1.5, space=SearchSpace(method=("lora", "full"), batch=(8,)))


def test_yaml_reads_back_the_same() -> None:
    assert SearchSpec.from_yaml(SPEC.to_yaml()) == SPEC


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"hours": 0}, "hours"),
        ({"trials": 0}, "trials"),
        ({"parallel": 100}, "parallel"),
        ({"keep": 0}, "keep"),
        ({"space": {"learning_rate": [1e-3, 1e-4]}}, "space.learning_rate"),
        ({"space": {"learning_rate": [1e-3]}}, "space.learning_rate"),
        ({"space": {"epochs": [0, 3]}}, "space.epochs"),
        ({"space": {"lora_r": []}}, "space.lora_r"),
        ({"space": {"batch": [8, 8]}}, "space.batch"),
        ({"space": {"method": ["dora"]}}, "space.method"),
        ({"space": {"seed": [1]}}, "space.seed"),
    ],
)
def test_invalid_values_are_named(values: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        build(SearchSpec, {"dataset": 1, "base_model": "tiny", "hours": 1, **values})
    assert caught.value.field.startswith(field)


def test_chart_has_an_axis_for_what_varies_and_a_line_for_each_trial() -> None:
    trials = [
        ChartTrial(1, {"method": "lora", "learning_rate": 1e-3, "epochs": 3, "batch": 8, "lora_r": 8}, 0.7, False),
        ChartTrial(2, {"method": "full", "learning_rate": 1e-4, "epochs": 1, "batch": 8}, 0.9, True),
    ]
    chart = parallel_coordinates(SPEC.space, trials, best=2)
    assert chart is not None
    assert [axis.title for axis in chart.axes] == ["Method", "Learning rate", "Epochs", "LoRA rank", "Field accuracy"]
    worse, better = chart.lines  # the best is drawn last, on top
    assert (worse.number, worse.shade, better.number, better.shade, better.is_best) == (1, 1, 2, 5, True)
    assert len(worse.points.split()) == 5
    assert chart.axes[3].ticks[0].text == "none"
    assert better.points.split()[3] == f"{chart.axes[3].x:g},{chart.bottom:g}"  # full fine-tuning has no rank
    for x, y in (point.split(",") for point in worse.points.split()):
        assert 0 <= float(x) <= chart.width
        assert 0 <= float(y) <= chart.height
    assert parallel_coordinates(SPEC.space, []) is None


def test_chart_of_equal_values() -> None:
    space = SearchSpace(learning_rate=(1e-3, 1e-3), epochs=(2, 2), lora_r=(8,), batch=(8,))
    parameters = {"method": "lora", "learning_rate": 1e-3, "epochs": 2, "batch": 8, "lora_r": 8}
    chart = parallel_coordinates(space, [ChartTrial(1, parameters, 0.5, False)])
    assert chart is not None
    assert len(chart.axes) == 1
