"""Turns captured requests into documents: the external model's answers become pre-labels, never gold. Registers keys of
the external model that callers may go on using.

Only the external model can check a key, and it accepts those of all its customers. So the gateway forwards only keys
that the project has registered; their hashes are stored."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from labeling.annotation import predictions
from labeling.annotation.predictions import PredictionInput
from labeling.contract.errors import ContractError
from labeling.imports.services import insert_rows
from labeling.integrations.tokens import PREFIX
from labeling.models import Comment, Document, Prediction, Project
from labeling.projects.services import save_instruction
from serving.captures import queries
from serving.models import CaptureKey
from serving.replicas.changes import announce
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.output_json import extract_json
from slmstudio.database.fields import storable_text
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.storage.hashing import sha256_text

#: where documents and pre-labels come from, as their lists show it
SOURCE = "captured traffic"
#: documents of one call; more are collected by the next one
MAX_DOCUMENTS = 2_000
_BATCH = 200
_MAX_NOTE = 2_000


@dataclass(frozen=True)
class Collected:
    """Counts of a collection: new documents, pre-labels, notes, and documents that cannot be stored.

    ``left``: drawn documents that the limit left for the next call.
    """

    documents: int = 0
    prelabels: int = 0
    notes: int = 0
    rejected: int = 0
    left: int = 0

    def __add__(self, other: "Collected") -> "Collected":
        return Collected(
            self.documents + other.documents, self.prelabels + other.prelabels, self.notes + other.notes,
            self.rejected + other.rejected, self.left + other.left,
        )  # fmt: skip


def is_drawn(key_sha256: str, share: float) -> bool:
    """Whether a document is in a sample: by its hash, so that a larger share contains a smaller one."""
    digest = hashlib.sha256(f"capture:{key_sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def collect(*, project: Project, user: User, share: float = 1.0, limit: int = MAX_DOCUMENTS) -> Collected:
    """Stores a share of the captured documents that the project does not have, the newest first.

    The answer of the external model becomes a pre-label of its document; an answer that does not match the contract
    becomes a note. Requests without a stored text (retention) are left out. Called again, it goes on.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is share or limit.
    """
    require(project, user, Action.CURATE)
    if not 0 < share <= 1:
        raise Refused("Enter a share above 0% and at most 100%.", field="share", code="share")
    if not 1 <= limit <= MAX_DOCUMENTS:
        raise Refused(f"Enter a number between 1 and {MAX_DOCUMENTS:,}.", field="limit", code="limit")
    if problem := quotas.storage_problem(project):
        raise Refused(problem, field="limit", code="storage")
    drawn = _drawn(project, share)
    collected = Collected(left=max(0, len(drawn) - limit))
    for at in range(0, min(limit, len(drawn)), _BATCH):
        keys = drawn[at : min(at + _BATCH, limit)]
        collected += _store(project, user, queries.documents(project).filter(id__in=keys))
    audit_services.record(
        project=project, user=user, action="collected", about=SOURCE,
        details={
            "share": share, "documents": collected.documents, "proposals": collected.prelabels,
            "notes": collected.notes,
        },
    )  # fmt: skip
    return collected


def _drawn(project: Project, share: float) -> list[Any]:
    """Ids of the newest request of each drawn document that was not collected yet."""
    newest: dict[str, Any] = {}
    for key, pk in queries.documents(project).order_by("-created_at").values_list("key_sha256", "id").iterator():
        if key not in newest and is_drawn(key, share):
            newest[key] = pk
    for known in Document.objects.existing_texts(project, list(newest)):
        del newest[known]
    return list(newest.values())


def _store(project: Project, user: User, rows: Any) -> Collected:
    requests = {sha256_text(row.text): row for row in rows}
    known = Document.objects.existing_texts(project, requests)
    fresh = {key: row for key, row in requests.items() if key not in known}
    with transaction.atomic():
        result = insert_rows(project=project, user=user, rows=_rows(fresh.values()), source=SOURCE)
        stored = dict(Document.objects.filter(project=project, sha256__in=fresh).values_list("sha256", "pk"))
        answers = {stored[key]: queries.answer_of(row) for key, row in fresh.items() if key in stored}
        prelabels = _prelabel(project, {pk: answer for pk, answer in answers.items() if answer.valid})
        notes = _note({pk: answer for pk, answer in answers.items() if not answer.valid})
    return Collected(result.imported, prelabels, notes, result.rejected)


def _rows(requests: Any) -> Iterator[dict[str, Any]]:
    for row in requests:
        # Who asked stays in the log, where it can be erased; documents of one caller can still be grouped.
        group = {"caller_group": caller_group(row.project_id, row.caller)} if row.caller else {}
        yield {"text": row.text, "request_id": str(row.id), **group}


def caller_group(project_id: int, caller: str) -> str:
    """What the documents of a caller have in common, without naming them."""
    return sha256_text(f"{project_id} {caller}")[:12]


def _prelabel(project: Project, answers: Mapping[int, queries.CapturedAnswer]) -> int:
    written = 0
    for model in sorted({answer.model for answer in answers.values()}):
        inputs = [
            PredictionInput(pk, extract_json(answer.content)[1], {}, answer.seconds)
            for pk, answer in answers.items()
            if answer.model == model
        ]
        recorded = predictions.record(
            project=project, schema_version=project.schema_version, proposals=inputs, model=model, source=SOURCE
        )
        written += recorded.written
    return written


def _note(answers: Mapping[int, queries.CapturedAnswer]) -> int:
    rows = [
        Comment(
            document_id=pk,
            text=storable_text(
                f"{answer.model} gave an answer that does not match the contract:\n{answer.content[:_MAX_NOTE]}"
            ),
        )
        for pk, answer in answers.items()
    ]
    return len(Comment.objects.bulk_create(rows))


def withhold(documents: Sequence[int]) -> int:
    """Hides the pre-labels of these documents from annotators, so that they label without them."""
    rows = Prediction.objects.filter(document__in=documents, source=SOURCE)
    return int(rows.update(withheld=True))


def use_instruction(*, project: Project, user: User, instruction: str) -> None:
    """Makes a system prompt of the captured requests the instruction of the contract.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it is no instruction.
    """
    require(project, user, Action.CONTRACT)
    try:
        save_instruction(project=project, user=user, instruction=instruction)
    except ContractError as error:
        raise Refused(" ".join(error.errors.values()), field="instruction", code="instruction") from error


MIN_LENGTH, MAX_LENGTH = 16, 500
MAX_KEYS = 100
#: characters at both ends of a key that are stored and shown
_SHOWN = 4


def key_sha256(project_id: int, key: str) -> str:
    """The hash of a key, of this project alone."""
    return hashlib.sha256(f"capture {project_id} {key}".encode(errors="replace")).hexdigest()


def register_key(*, project: Project, user: User, key: str) -> CaptureKey:
    """Lets callers with this key of the external model in.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is key: it is no key, is registered already, or there are too many.
    """
    require(project, user, Action.DEPLOY)
    key = key.strip()
    if not MIN_LENGTH <= len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise Refused(
            f"A key must have {MIN_LENGTH} to {MAX_LENGTH} characters and no spaces.", field="key", code="key"
        )
    if key.startswith(PREFIX):
        raise Refused("This is an SLM Studio token. Tokens do not need to be registered.", field="key", code="token")
    row = CaptureKey(
        project=project, sha256=key_sha256(project.pk, key), prefix=f"{key[:_SHOWN]}…{key[-_SHOWN:]}", created_by=user
    )
    try:
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            if CaptureKey.objects.filter(project=project).in_use().count() >= MAX_KEYS:
                raise Refused(
                    f"This project already has {MAX_KEYS} registered keys. Remove one first.",
                    field="key",
                    code="too_many",
                )
            row.save(force_insert=True)
            note_audit(project=project, user=user, action="registered", about=f"client key {row.prefix}")
            transaction.on_commit(announce)
    except IntegrityError:
        raise Refused("This key is already registered.", field="key", code="known") from None
    return row


def remove_key(*, row: CaptureKey, user: User) -> None:
    """Lets callers with a key in no longer. Raises Forbidden."""
    require(row.project, user, Action.DEPLOY)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=row.project_id)
        if CaptureKey.objects.filter(pk=row.pk).in_use().update(removed_at=timezone.now()):
            note_audit(project=row.project, user=user, action="removed", about=f"client key {row.prefix}")
            transaction.on_commit(announce)
