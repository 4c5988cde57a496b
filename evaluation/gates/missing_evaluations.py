"""Models that the gates of a policy compare with, and that have no evaluation on the documents of a candidate."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode

from evaluation.gates.baselines import base_model_of, default_baseline, last_approved
from evaluation.gates.metrics.metric import COMPARED_WITH_BASE, COMPARED_WITH_DEPLOYED, COMPARED_WITH_PRODUCTION
from evaluation.gates.policy.definition import GatePolicy
from evaluation.gates.production import production_of
from evaluation.inference.backend import ModelKey
from evaluation.models import EvalRun
from training.models import BaseModel


@dataclass(frozen=True)
class MissingEvaluation:
    """An evaluation that ``gates`` (titles) need. ``url``: the form that starts it, with its price; ``live``: the one
    that is queued or running.
    """

    label: str
    gates: list[str]
    url: str
    live: EvalRun | None


def missing_evaluations(run: EvalRun, policy: GatePolicy) -> list[MissingEvaluation]:
    """The evaluations that a report on ``run`` lacks under a policy."""
    return [one for one in (_baseline(run, policy), _production(run, policy)) if one is not None]


def _baseline(run: EvalRun, policy: GatePolicy) -> MissingEvaluation | None:
    gates = _titles(policy, COMPARED_WITH_DEPLOYED, COMPARED_WITH_BASE)
    if not gates or default_baseline(run) is not None:
        return None
    approved = last_approved(run)
    if approved is not None:
        return _missing(run, approved.model_label, approved.backend.choice_key, approved.backend.key, gates)
    number = base_model_of(run)
    if number is None:
        return None
    base = BaseModel.objects.get(pk=number)
    return _missing(run, base.name, f"base-{base.slug}", ModelKey(base_model=base.pk), gates)


def _production(run: EvalRun, policy: GatePolicy) -> MissingEvaluation | None:
    gates = _titles(policy, COMPARED_WITH_PRODUCTION)
    found = production_of(run) if gates else None
    if found is None or not found.is_applicable or found.run is not None or found.model is None:
        return None
    key = found.model.key
    other = EvalRun.objects.with_model().of_model(key).order_by("-number").first()
    choice = other.backend.choice_key if other is not None else f"endpoint-{key.endpoint}" if key.endpoint else ""
    return _missing(run, found.model.label, choice, key, gates, found.model.mode) if choice else None


def _titles(policy: GatePolicy, *compared_with: str) -> list[str]:
    return [gate.title for gate in policy if gate.compared_with in compared_with]


def _missing(
    run: EvalRun, label: str, choice: str, key: ModelKey, gates: list[str], mode: str = ""
) -> MissingEvaluation:
    query: dict[str, str | int] = {
        "model": choice,
        "dataset": run.dataset.number,
        "split": run.split,
        "mode": mode or run.mode,
        "at_once": run.at_once,
    }
    url = f"{reverse('eval_new', args=[run.project.slug])}?{urlencode(query)}"
    live = EvalRun.objects.of_model(key).filter(project=run.project_id, split=run.split, dataset=run.dataset_id).live()
    return MissingEvaluation(label, gates, url, live.order_by("-number").first())
