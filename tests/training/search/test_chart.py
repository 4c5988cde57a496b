"""The chart of the trials of a search."""

from training.search.chart import parallel_coordinates
from training.search.study import SearchSpec, Trial

SEARCH = {"dataset": 1, "base_model": "m", "batch": (8,)}
SPEC = SearchSpec.model_validate({**SEARCH, "method": ("lora", "full")})
LORA = {"method": "lora", "learning_rate": 1e-3, "epochs": 3, "batch": 8, "lora_r": 8}
FULL = {"method": "full", "learning_rate": 1e-4, "epochs": 1, "batch": 8}


def test_chart_has_an_axis_for_what_varies_and_a_line_for_each_trial() -> None:
    trials = [
        Trial(1, LORA, 1, "complete", value=0.7),
        Trial(2, FULL, 2, "pruned", values=[0.9]),
        Trial(3, FULL, 3, "failed"),
    ]
    chart = parallel_coordinates(SPEC, trials, best=2)
    assert chart is not None
    titles = [axis["title"] for axis in chart["axes"]]
    assert titles == ["Method", "Learning rate", "Epochs", "LoRA rank", "Field accuracy"]
    worse, better = chart["lines"]  # the best is drawn last, on top
    assert (worse["shade"], better["shade"], better["is_best"], better["is_pruned"]) == (1, 5, True, True)
    assert len(worse["points"].split()) == 5
    rank = chart["axes"][3]
    assert rank["ticks"][0][1] == "none"
    assert better["points"].split()[3] == f"{rank['x']:g},{chart['bottom']:g}"  # full fine-tuning has no rank
    for x, y in (point.split(",") for point in worse["points"].split()):
        assert 0 <= float(x) <= chart["width"]
        assert 0 <= float(y) <= chart["height"]
    assert parallel_coordinates(SPEC, []) is None


def test_chart_of_equal_values() -> None:
    values = {"learning_rate_low": 1e-3, "learning_rate_high": 1e-3, "epochs_low": 3, "epochs_high": 3}
    spec = SearchSpec.model_validate({**SEARCH, "lora_r": (8,), **values})
    chart = parallel_coordinates(spec, [Trial(1, LORA, 1, "complete", value=0.5)])
    assert chart is not None
    assert len(chart["axes"]) == 1
