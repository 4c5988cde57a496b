"""What the tests of doubted gold share: a model that disagrees with it, doubts about it, and what a reviewer does."""

from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

from evaluation.label_issues import challenges
from evaluation.models import EvalOutput, EvalRun, LabelChallenge
from evaluation.runs import jobs as run_jobs
from evaluation.runs import rescoring
from labeling.models import Document, Membership
from labeling.review import adjudication
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World


def says_total(world: World, key: str, total: str) -> Any:
    """A model that is right but for one document, whose total it says to be another."""

    def say(row: dict[str, Any]) -> dict[str, Any]:
        changes = {"total_amount": Decimal(total)} if row["id"] == key else {}
        return {"raw": dumps({**row["gold"], **changes})}

    return say


def reviewer(world: World, name: str = "rita") -> Any:
    """One more member, who may review."""
    person, _ = get_user_model().objects.get_or_create(username=name)
    Membership.objects.get_or_create(project=world.project, user=person, defaults={"role": Role.REVIEWER})
    return person


def first_id(world: World) -> str:
    """The id of a held-out document."""
    return str(Document.objects.filter(project=world.project, holdout=True).earliest("pk").external_id)


def case(run: EvalRun, key: str) -> EvalOutput:
    """The output about a document, as a view has it."""
    output: EvalOutput = EvalOutput.objects.select_related("document", "eval_run__project").get(
        eval_run=run, document__external_id=key
    )
    return output


def doubted(run: EvalRun, key: str, user: User, path: str = "total_amount", reason: str = "") -> LabelChallenge:
    """Somebody says that this gold is wrong."""
    return challenges.create_challenge(output=case(run, key), user=user, path=path, reason=reason)


def decide(document: Document, user: User, **picks: Any) -> None:
    """A reviewer decides a doubt: the label that counts, with some values picked and confirmed."""
    fresh = Document.objects.select_related("project").get(pk=document.pk)
    opened = adjudication.open_adjudication(document=fresh, user=user)
    assert not opened.refusal, opened.refusal
    settled = opened.resolve(picks)
    sure = {path: {"confirmed": True, "of": dumps(value)} for path, value in picks.items()}
    adjudication.adjudicate(
        document=fresh,
        user=user,
        value=settled.value,
        evidence={**opened.evidence(settled), **sure},
        base_version=opened.version,
    )


def scored_again(run: EvalRun, dataset: Any, user: User) -> EvalRun:
    """A run scored by another version, its job done."""
    made = rescoring.rescore(run=run, dataset=dataset, user=user, confirm_holdout=True)
    run_jobs.run_evaluation(made.pk)
    made.refresh_from_db()
    return made
