"""What leaves with the requests: judgments, draws and items of the queue."""

import uuid
from collections.abc import Iterable
from datetime import datetime

from serving.models import Judgment
from serving.models.review import Draw, ReviewItem

_BATCH = 5_000


def items_of(project_id: int, ids: Iterable[uuid.UUID]) -> list[int]:
    """The items of the review queue for some requests of a project."""
    wanted, found = list(ids), set[int]()
    for at in range(0, len(wanted), _BATCH):
        draws = Draw.objects.filter(project_id=project_id, request_id__in=wanted[at : at + _BATCH])
        found.update(draws.exclude(item=None).values_list("item_id", flat=True))
    return sorted(found)


def erase_requests(project_id: int, ids: Iterable[uuid.UUID]) -> None:
    """Deletes everything about some requests of a project, and the items that have no other request."""
    wanted = list(ids)
    for at in range(0, len(wanted), _BATCH):
        part = wanted[at : at + _BATCH]
        Judgment.objects.filter(project_id=project_id, request_id__in=part).delete()
        draws = Draw.objects.filter(project_id=project_id, request_id__in=part)
        items = list(draws.exclude(item=None).values_list("item_id", flat=True).distinct())
        draws.delete()
        _settle(items)


def _settle(items: list[int]) -> None:
    """Deletes items without a request; others show one that they still have."""
    for item in ReviewItem.objects.filter(pk__in=items):
        rest = item.draws.order_by("-pk").first()
        if rest is None:
            _hand_over(item)
            item.delete()
            continue
        item.draws_count = item.draws.count()
        item.request_id, item.day, item.release_id = rest.request_id, rest.day, rest.release_id
        item.save(update_fields=["draws_count", "request_id", "day", "release"])


def _hand_over(item: ReviewItem) -> None:
    """Near-duplicates of an item that leaves are listed by themselves."""
    ReviewItem.objects.filter(leader=item).update(leader=None)


def erase_expired(project_id: int, before: datetime) -> int:
    """Erases what quotes requests of a project before a moment: corrections, and the items of the queue whose texts are
    gone. Figures stay: judgments without corrections, and draws. Returns the number of items."""
    old = Judgment.objects.filter(project_id=project_id, day__lte=before.date(), requested_at__lt=before)
    old.exclude(correction="").update(correction="")
    items = ReviewItem.objects.filter(project_id=project_id).exclude(draws__created_at__gte=before)
    gone = list(items.values_list("pk", flat=True)[:_BATCH])
    ReviewItem.objects.filter(leader__in=gone).update(leader=None)
    deleted, _ = ReviewItem.objects.filter(pk__in=gone).delete()
    return deleted
