"""A search on the tiny model."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from training.search.spec import SearchSpace, SearchSpec

if TYPE_CHECKING:
    from labeling.models import DatasetVersion, Project
    from training.models import LengthReport, Search


@pytest.fixture
def search_spec(dataset: "DatasetVersion", lengths: "LengthReport") -> SearchSpec:
    """Six trials of LoRA within an hour."""
    return SearchSpec(
        dataset=dataset.number,
        base_model=lengths.base_model.slug,
        hours=1.0,
        trials=6,
        documents=2,
        seconds=None,
        space=SearchSpace(epochs=(1, 3), lora_r=(4, 8), batch=(2, 4)),
    )


@pytest.fixture
def start_search(
    project: "Project", people: dict[str, Any], search_spec: SearchSpec, queues: None
) -> "Callable[..., Search]":
    """Starts the search, with changes of its spec."""
    from training.search import services

    def start(**changes: Any) -> "Search":
        spec = replace(search_spec, **changes)
        return services.start_search(project=project, user=people["engineer"], spec=spec)

    return start
