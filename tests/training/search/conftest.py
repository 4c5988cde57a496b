"""A search on the tiny model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from labeling.models import DatasetVersion, Project, Study
    from training.models import LengthReport


@pytest.fixture
def search_spec(dataset: "DatasetVersion", lengths: "LengthReport") -> dict[str, Any]:
    """Six trials of LoRA within an hour."""
    return {
        "dataset": dataset.number,
        "base_model": lengths.base_model.slug,
        "hours": 1.0,
        "trials": 6,
        "documents": 2,
        "seconds": None,
        "epochs_high": 3,
        "lora_r": (4, 8),
        "batch": (2, 4),
    }


@pytest.fixture
def start_search(
    project: "Project", people: dict[str, Any], search_spec: dict[str, Any], queues: None
) -> "Callable[..., Study]":
    """Starts the search, with changes of its spec."""
    from labeling.studies import services
    from training.search.study import SEARCH

    def start(**changes: Any) -> "Study":
        spec = {**search_spec, **changes}
        return services.start(project=project, user=people["engineer"], kind=SEARCH, spec=spec)

    return start
