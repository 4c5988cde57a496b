"""Name, tags and notes of training runs, and their archive."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.models import Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE
from training.models import TrainingRun
from training.runs.services import MAX_NAME_LENGTH

MAX_TAGS = 20
MAX_TAG_LENGTH = 40
MAX_NOTES_LENGTH = 20_000
#: runs that one change can name
MAX_RUNS = 1000


def parse_tags(text: str) -> list[str]:
    """The tags in a text with commas, each once.

    Raises:
        Refused: a tag is too long, or there are too many.
    """
    tags = list(dict.fromkeys(" ".join(part.split()) for part in text.split(",") if part.strip()))
    if long := next((tag for tag in tags if len(tag) > MAX_TAG_LENGTH), ""):
        raise Refused(f"A tag can have at most {MAX_TAG_LENGTH} characters: {long[:60]}.", field="tags")
    if len(tags) > MAX_TAGS:
        raise Refused(f"A run can have at most {MAX_TAGS} tags.", field="tags")
    return tags


def describe_run(*, run: TrainingRun, user: User, name: str, tags: str, notes: str) -> None:
    """Sets name, tags (with commas between them) and notes of a run.

    Raises:
        Refused: a text is too long.
    """
    require(run.project, user, Action.RUN)
    if len(name.strip()) > MAX_NAME_LENGTH:
        raise Refused(f"A name can have at most {MAX_NAME_LENGTH} characters.", field="name")
    if len(notes) > MAX_NOTES_LENGTH:
        raise Refused(f"Notes can have at most {MAX_NOTES_LENGTH:,} characters.", field="notes")
    run.name, run.tags, run.notes = name.strip(), parse_tags(tags), notes.replace("\r\n", "\n").strip()
    run.save(update_fields=["name", "tags", "notes"])


def archive(*, project: Project, user: User, numbers: Iterable[int]) -> int:
    """Hides ended runs in lists; returns how many. A live run is not archived."""
    require(project, user, Action.RUN)
    runs = TrainingRun.objects.filter(project=project, number__in=list(numbers)[:MAX_RUNS], archived_at__isnull=True)
    return runs.exclude(status__in=ACTIVE).update(archived_at=timezone.now())


def restore(*, project: Project, user: User, numbers: Iterable[int]) -> int:
    """Shows archived runs in lists again; returns how many."""
    require(project, user, Action.RUN)
    runs = TrainingRun.objects.filter(project=project, number__in=list(numbers)[:MAX_RUNS])
    return runs.filter(archived_at__isnull=False).update(archived_at=None)


def change_tags(*, project: Project, user: User, numbers: Iterable[int], add: str = "", remove: str = "") -> int:
    """Adds and removes tags of several runs; returns how many runs have changed.

    Raises:
        Refused: a tag is too long, or a run would have too many.
    """
    require(project, user, Action.RUN)
    added, removed = parse_tags(add), set(parse_tags(remove))
    with transaction.atomic():
        rows = TrainingRun.objects.filter(project=project, number__in=list(numbers)[:MAX_RUNS])
        changed = []
        for run in rows.select_for_update().only("tags"):
            tags = [tag for tag in dict.fromkeys((*run.tags, *added)) if tag not in removed]
            if len(tags) > MAX_TAGS:
                raise Refused(f"A run can have at most {MAX_TAGS} tags.", field="tags")
            if tags != run.tags:
                run.tags = tags
                changed.append(run)
        TrainingRun.objects.bulk_update(changed, ["tags"], batch_size=200)
    return len(changed)
