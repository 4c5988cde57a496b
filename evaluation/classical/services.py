"""Classical models: which ones a schema allows, and their rows.

The first evaluation of a model trains it (``evaluation.inference.classical``).
"""

from collections.abc import Collection, Sequence
from importlib.util import find_spec

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.inference.classical_spec import EMBEDDINGS_INSTALL, EMBEDDINGS_MODULE, kinds_for
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import ClassicalModel
from labeling.datasets import near_duplicates
from labeling.models import DatasetVersion, Document, Project, SchemaVersion, Split
from slmstudio.access import Action, require
from slmstudio.errors import Refused

#: the fewest training labels; below, it says nothing about the method
MIN_LABELS = 10


def kinds(schema: SchemaVersion | None) -> list[ClassicalKind]:
    """The kinds that can predict fields of a schema, the simplest first."""
    return [ClassicalKind(kind) for kind in kinds_for(schema.compiled)] if schema is not None else []


def obstacle(kind: ClassicalKind) -> str:
    """Why models of a kind cannot be trained on this machine, as a sentence; "" if they can."""
    if kind == ClassicalKind.EMBEDDINGS and find_spec(EMBEDDINGS_MODULE) is None:
        return f"The weights are not installed. Install them with {EMBEDDINGS_INSTALL}."
    return ""


def training_documents(dataset: DatasetVersion, *, without: Collection[int] = ()) -> int:
    """How many training labels a model can use."""
    return int(dataset.items.filter(split=Split.TRAIN).exclude(document__in=list(without)).count())


@transaction.atomic
def get_or_create(
    *,
    project: Project,
    user: User | None,
    dataset: DatasetVersion,
    kind: ClassicalKind,
    labels: int = 0,
    excluded: Sequence[int] = (),
) -> ClassicalModel:
    """The classical model of a dataset version, or a new one that the first evaluation trains.

    ``labels``: how many training labels it uses, drawn by the seed of the version; 0: all. ``excluded``: keys of
    training documents that it must not see.

    Raises:
        Refused: ``field`` is models or labels.
    """
    require(project, user, Action.RUN)
    if kind not in kinds(dataset.schema_version):
        raise Refused(f"{kind.label} predicts no field of this schema.", field="models")
    if problem := obstacle(kind):
        raise Refused(f"{kind.label}: {problem}", field="models", code="not_installed")
    available = training_documents(dataset, without=excluded)
    wanted = labels or available
    if not MIN_LABELS <= wanted <= available:
        raise Refused(
            f"{kind.label} needs at least {MIN_LABELS} training labels; {dataset} has {available:,} that can be used.",
            field="models" if not labels else "labels",
        )
    number = project.next_number(ClassicalModel)  # locks the project
    same = ClassicalModel.objects.filter(project=project, dataset=dataset, kind=kind, labels=labels, seed=dataset.seed)
    existing: ClassicalModel | None = same.filter(excluded=sorted(excluded)).first()
    if existing is not None:
        return existing
    return ClassicalModel.objects.create(
        project=project,
        number=number,
        kind=kind,
        dataset=dataset,
        labels=labels,
        excluded=sorted(excluded),
        seed=dataset.seed,
        created_by=user,
    )


def overlapping_training(dataset: DatasetVersion, documents: Sequence[int]) -> list[int]:
    """Keys of the training documents that are among ``documents`` or near-duplicates of them.

    Near-duplicates never straddle splits, so there are none where no training document is among them.
    """
    training = dataset.items.filter(split=Split.TRAIN)
    tested = list(training.filter(document__in=list(documents)).values_list("document_id", flat=True))
    if not tested:
        return []
    others = list(training.exclude(document__in=tested).order_by("document_id").values_list("document_id", flat=True))
    keys = [*tested, *others]
    texts = dict(Document.objects.filter(pk__in=keys).values_list("pk", "text"))
    groups = near_duplicates.group(texts[key] for key in keys).group
    taken = set(groups[: len(tested)])
    return sorted(key for key, group in zip(keys, groups, strict=True) if group in taken)
