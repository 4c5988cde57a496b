"""The price of a hold-out evaluation, stated before it: its number, its confidence, and the documents that it takes."""

from dataclasses import dataclass

from evaluation.gates.holdout.evaluation_numbers import number_of_next, upcoming_number
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.verdict_texts import documents
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.models import ClassicalModel, EvalRun
from evaluation.runs.services import Model
from evaluation.stats import ALPHA, alpha_level, sample_size_for
from labeling.models import DatasetVersion, Project, Split
from slmstudio.text.formatting import exact_percent
from training.models import ModelExport, ModelVersion, TrainingRun


@dataclass(frozen=True)
class HoldoutPrice:
    """The price of an evaluation: its ``number``, None where it does not count, and all of it as a ``sentence``."""

    number: int | None
    sentence: str

    @property
    def token(self) -> str:
        """What a confirmation names, so that one of another price does not count."""
        return str(self.number or 0)


def evaluation_price(dataset: DatasetVersion, model: Model) -> HoldoutPrice:
    """The price of an evaluation of a model on the hold-out of a dataset version, under the current policy."""
    if not isinstance(model, TrainingRun | ModelVersion | ModelExport | ClassicalModel):
        return HoldoutPrice(
            None, "A base or external model counts as a hold-out evaluation only once it has a gate report of its own."
        )
    policy = gates_of(current_policy(project=dataset.project))
    number = number_of_next(EvalRun(project=dataset.project, dataset=dataset))
    held_out = dataset.items.filter(split=Split.HOLDOUT).count()
    return HoldoutPrice(number, price_sentence(policy, number, held_out))


def price_sentence(policy: GateSet, number: int, held_out: int) -> str:
    """The price of the ``number``-th evaluation of a hold-out with ``held_out`` documents."""
    this = f"This is hold-out evaluation {number}"
    if policy.single_evaluation:
        if number > 1:
            return f"{this}. The policy allows one, so no gate on outputs can pass. Use validation or a new hold-out."
        return f"{this}, the only one that the policy allows. Its gates use the full error budget."
    gate = strictest_rate(policy)
    alpha = round(1 - gate[0].confidence, 12) if gate is not None else ALPHA
    before = f" instead of {exact_percent(1 - alpha_level(1, alpha))}" if number > 1 else ""
    tested = f"gates on outputs are tested at {exact_percent(1 - alpha_level(number, alpha))} confidence{before}"
    if gate is None:
        return f"{this}: {tested}."
    needed, first, later = (sample_size_for(0, gate[1], alpha_level(look, alpha)) for look in (number, 1, number + 1))
    if needed is None or first is None or later is None:
        return f"{this}: {tested}."
    instead = f" instead of {first:,}" if number > 1 else ""
    return (
        f"{this}: {tested}, so proving {exact_percent(gate[1])} takes {documents(needed)} without an error{instead}. "
        f"The hold-out has {held_out:,}. The next evaluation will take {later:,}."
    )


def size_warning(project: Project, held_out: int) -> str:
    """Why no model can pass the current policy on a hold-out of this size; "" where one without an error can."""
    policy = gates_of(current_policy(project=project))
    gate = strictest_rate(policy)
    if gate is None:
        return ""
    alpha = round(1 - gate[0].confidence, 12)
    level = alpha if policy.single_evaluation else alpha_level(upcoming_number(project), alpha)
    needed = sample_size_for(0, gate[1], level)
    if needed is None or held_out >= needed:
        return ""
    return (
        f"About {documents(held_out)} in the hold-out: too few for the gates. Proving {exact_percent(gate[1])} takes "
        f"at least {documents(needed)} without an error."
    )


def strictest_rate(policy: GateSet) -> tuple[Gate, float] | None:
    """The gate on all documents with the highest share of right ones, and that share; None without one."""
    rates = []
    for gate in policy:
        metric = METRICS[gate.metric]
        share = gate.threshold if gate.operator == ">=" else round(1 - gate.threshold, 12)
        if metric.is_rate and metric.needs_labels and not gate.slice and not gate.field and 0 < share < 1:
            rates.append((gate, share))
    return max(rates, key=lambda row: row[1], default=None)
