"""Nothing invalid becomes gold: generated values, each submitted, sent over REST, imported and approved."""

import contextlib
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labeling.annotation import services as annotation_services
from labeling.models import Gold
from labeling.review import services as review_services
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from tests.contract.samples import json_values
from tests.labeling.api_client import Api, api_of
from tests.labeling.desk import bring_in
from tests.labeling.label_desk import TEXT, Desk, gold
from tests.labeling.work_desk import change, fresh, review_desk, submit
from tests.shared_rows import shared_fixture

FIELDS = st.sampled_from([*gold(), "more"])
#: the right label, with some fields replaced by what a program or an imported file may contain
labels = st.dictionaries(FIELDS, json_values, max_size=3).map(lambda changes: {**gold(), **changes})


@shared_fixture
def desk(db: None) -> Desk:
    return review_desk(review_required=False)


def attempt(desk: Desk, api: Api, name: str, value: Any) -> None:
    """The value by each entry that can make gold, each for a document of its own."""
    submitted, sent, corrected = (desk.document(f"{TEXT} {name} {part}", f"{name}-{part}") for part in "abc")
    with contextlib.suppress(annotation_services.InvalidLabel):
        annotation_services.submit(document=submitted, user=desk.ana, value=value, evidence={}, base_version=0)
    api.post(f"documents/{sent.pk}/submit", {"value": value, "base_version": 0})
    bring_in(desk.project, [dumps({"id": f"{name}-d", "text": f"{TEXT} {name} d", "gold": value})], user=desk.owner)
    change(desk, review_required=True)
    submit(corrected, desk.ana)
    with contextlib.suppress(Refused):
        review_services.approve(document=fresh(corrected), user=desk.rita, base_version=1, value=value, evidence={})
    change(desk, review_required=False)


@given(value=labels | json_values.filter(lambda value: value is not None))
@example(value=gold())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_invalid_is_gold(desk: Desk, value: Any) -> None:
    with transaction.atomic():
        attempt(desk, api_of(desk.project, desk.ana), "generated", value)
        labels = list(Gold.objects.select_related("revision"))
        for label in labels:
            assert desk.project.schema_version.compiled.validate_exact(label.revision.value) == []
        assert len(labels) == 4 or value != gold()
        transaction.set_rollback(True)
