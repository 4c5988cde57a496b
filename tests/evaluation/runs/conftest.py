"""A server that knows the gold of every document."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.evaluation.factories import World
    from tests.evaluation.fake_openai import Fake


@pytest.fixture
def fake(world: "World", fake: "Fake") -> "Fake":
    from labeling.datasets import queries as dataset_queries
    from slmstudio.contract.json_text import dumps
    from tests.evaluation.fake_openai import says

    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(world.dataset)}

    def knows(handler: Any, body: dict[str, Any]) -> None:
        says(gold[body["messages"][-1]["content"]])(handler, body)

    fake.replies = [knows]
    return fake
