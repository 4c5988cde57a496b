"""Benchmarks over REST: candidates, a start, the recommendation, and who may."""

from typing import Any

from evaluation.models import Benchmark
from tests.evaluation.benchmark_desk import answered
from tests.evaluation.benchmarks.conftest import wide  # noqa: F401
from tests.evaluation.factories import World, right
from tests.labeling.api_client import Api, api_of
from tests.shared_rows import shared_fixture


@shared_fixture
def api(wide: World) -> Api:  # noqa: F811
    return api_of(wide.project, wide.engineer)


def start(api: Api, *models: str, **body: Any) -> Any:
    return api.post("benchmarks", {"models": list(models), "documents": 20, "modes": ["constrained"], **body})


def test_a_benchmark_is_started_read_and_cancelled(wide: World, api: Api) -> None:  # noqa: F811
    keys = [model["key"] for model in api.get("benchmarks/models").json["items"]]
    assert {"classical-rules", "small-base", "version-1"} <= set(keys)
    made = start(api, "small-base")
    assert (made.status, made.json["status"], made.json["documents"], made.json["recommendation"]) == (
        202, "running", 20, None,
    )  # fmt: skip
    [run] = Benchmark.objects.get().runs.all()
    answered(run, right)
    done = api.get(f"benchmarks/{made.json['number']}").json
    assert (done["status"], done["recommendation"]["run"], done["runs"][0]["labels"]) == ("done", run.number, 2)
    assert done["recommendation"]["fine_tuning"]
    assert done["runs"][0]["gates"]["status"] in ("PASS", "NOT PROVEN")
    assert [row["number"] for row in api.get("benchmarks").json["items"]] == [1]
    number = start(api, "small-base").json["number"]
    assert api.post(f"benchmarks/{number}/cancel", {}).json["status"] == "cancelled"


def test_impossible_benchmarks_are_rejected(api: Api) -> None:
    for models, body, field in ((["nothing"], {}, "models"), (["small-base"], {"documents": 5}, "documents")):
        answer = start(api, *models, **body)
        assert answer.status in (400, 422)
        assert field in str(answer.json["errors"])
    assert not Benchmark.objects.exists()
