"""Documents that were made of requests: collected from captured traffic, or sent to labeling by a reviewer."""

import uuid
from collections.abc import Iterable

from django.db.models import Q

from labeling.documents.erasure import Erased, erase_documents
from labeling.models import Document, Project
from serving.captures.services import SOURCE as CAPTURED
from serving.captures.services import caller_group
from serving.models import ComparisonPair, ReviewItem
from serving.review.queue import SOURCE as REVIEWED


def erase(
    project: Project, requests: Iterable[uuid.UUID], items: Iterable[int], *, caller: str, with_gold: bool
) -> Erased:
    """Erases the documents of requests, of items of the review queue, and of a caller ("": of none).

    The documents of a caller are found also where the log no longer has their requests. Documents of comparisons stay.
    """
    ids = [str(one) for one in requests]
    captured = Q(source=CAPTURED, metadata__request_id__in=ids)
    if caller:
        captured |= Q(source=CAPTURED, metadata__caller_group=caller_group(project.pk, caller))
    reviewed = Q(source=REVIEWED) & (
        Q(metadata__request__in=ids) | Q(pk__in=ReviewItem.objects.filter(pk__in=list(items)).values("document"))
    )
    rows = Document.objects.filter(captured | reviewed, project=project)
    compared = set(ComparisonPair.objects.filter(document__in=rows).values_list("document", flat=True))
    found = erase_documents([pk for pk in rows.values_list("pk", flat=True) if pk not in compared], with_gold=with_gold)
    found.in_use.extend(Document.objects.filter(pk__in=compared).values_list("external_id", flat=True))
    return found
