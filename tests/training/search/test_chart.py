"""The chart of the trials of a search."""

from training.search.chart import parallel_coordinates
from training.search.study import SearchSpace, Trial

SPACE = SearchSpace((1e-4, 3e-3), (1, 6), (8, 16, 32), ("lora", "full"), (8,))
LORA = {"method": "lora", "learning_rate": 1e-3, "epochs": 3, "batch": 8, "lora_r": 8}


def test_chart_has_an_axis_for_what_varies_and_a_line_for_each_trial() -> None:
    trials = [
        Trial(
            1,
            {"method": "lora", "learning_rate": 1e-3, "epochs": 3, "batch": 8, "lora_r": 8},
            1,
            "complete",
            [],
            0,
            0.7,
        ),
        Trial(2, {"method": "full", "learning_rate": 1e-4, "epochs": 1, "batch": 8}, 2, "pruned", [0.9]),
        Trial(3, {"method": "full", "learning_rate": 1e-4, "epochs": 1, "batch": 8}, 3, "failed"),
    ]
    chart = parallel_coordinates(SPACE, trials, best=2)
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
    assert parallel_coordinates(SPACE, []) is None


def test_chart_of_equal_values() -> None:
    space = SearchSpace((1e-3, 1e-3), (2, 2), (8,), ("lora",), (8,))
    parameters = {"method": "lora", "learning_rate": 1e-3, "epochs": 2, "batch": 8, "lora_r": 8}
    chart = parallel_coordinates(space, [Trial(1, parameters, 1, "complete", [], 0, 0.5)])
    assert chart is not None
    assert len(chart.axes) == 1
