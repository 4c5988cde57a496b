"""Forms of gate policies: the thresholds, one new gate for a slice or field, reasons and answers of proposals."""

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.http import QueryDict

from evaluation.gates.metrics import METRICS
from evaluation.gates.policy.definition import Gate, GateError, GateSet
from evaluation.gates.policy.proposals import MAX_REASON_LENGTH
from evaluation.widgets import checkbox, narrow_number_input, select, text_input, textarea

#: form fields of the new gate
NEW_GATE_FIELDS = ("metric", "threshold", "slice", "field", "value")


class ReasonForm(forms.Form):
    """The reason of a proposal."""

    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON_LENGTH,
        widget=textarea(3),
        help_text="Shown to the approver and recorded in the audit log.",
        error_messages={"required": "Enter a reason. It is shown to the approver."},
    )


class AnswerForm(forms.Form):
    """The answer to a proposal."""

    do = forms.ChoiceField(choices=[(name, name) for name in ("take", "decline", "withdraw")])
    seen = forms.IntegerField(required=False)  # number of the policy that the changes were shown for
    answer = forms.CharField(
        label="Comment",
        max_length=MAX_REASON_LENGTH,
        required=False,
        widget=textarea(2),
    )


class PolicyForm(forms.Form):
    """The thresholds of the gates, in display units: percent, milliseconds. An empty field means no gate.

    ``fields_known``: (pattern, title) of the schema's fields; ``slices_known``: (slice, label) of the documents.
    """

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        policy: GateSet,
        fields_known: list[tuple[str, str]] | None = None,
        slices_known: list[tuple[str, str]] | None = None,
        currency: str = "",
    ) -> None:
        super().__init__(data)
        self.currency = currency
        self.policy = policy
        self.slices_known = slices_known or []
        used = {gate.metric for gate in policy if not (gate.slice or gate.field)}
        missing = [name for name, metric in METRICS.items() if name not in used and metric.field != "must"]
        self.gates = [*policy, *(_placeholder_gate(metric, policy, currency) for metric in missing)]
        for gate in self.gates:
            initial = METRICS[gate.metric].unit.to_input(gate.threshold) if gate in list(policy) else None
            self.fields[gate.key] = forms.FloatField(
                label=_title_without_number(gate), required=False, initial=initial, widget=_number()
            )
        self._add_fields(fields_known or [])
        self.fields["only-look"] = forms.BooleanField(
            label="Allow a single hold-out evaluation",
            required=False,
            initial=policy.single_evaluation,
            help_text="It uses the full error budget. A second evaluation of the same hold-out cannot pass.",
            widget=checkbox(),
        )

    def _add_fields(self, known: list[tuple[str, str]]) -> None:
        metrics = [("", "None"), *((name, metric.title.format("…")) for name, metric in METRICS.items())]
        self.fields["add-metric"] = forms.ChoiceField(label="Metric", required=False, choices=metrics, widget=select())
        self.fields["add-threshold"] = forms.FloatField(label="Threshold", required=False, widget=_number())
        self.fields["add-slice"] = forms.CharField(
            label="Slice",
            required=False,
            max_length=200,
            help_text="A tag, or metadata.KEY=VALUE. Leave empty for all documents.",
            widget=text_input(list="slices-known"),
        )
        self.fields["add-field"] = forms.ChoiceField(
            label="Field",
            required=False,
            choices=[("", "All fields"), *((pattern, f"{title} ({pattern})") for pattern, title in known)],
            widget=select(),
        )
        self.fields["add-value"] = forms.CharField(
            label="Value",
            required=False,
            max_length=200,
            help_text="For recall of one class, such as billing. Leave empty for all values.",
            widget=text_input(),
        )

    def rows(self) -> list[dict[str, Any]]:
        """The gates with their form field, unit, and whether the policy has them."""
        return [
            {
                "gate": gate,
                "field": self[gate.key],
                "unit": METRICS[gate.metric].unit.label_in(gate.currency),
                "set": gate in self.policy.gates,
            }
            for gate in self.gates
        ]

    @property
    def single_evaluation(self) -> forms.BoundField:
        """Whether the policy allows a single hold-out evaluation."""
        return self["only-look"]

    @property
    def new_gate_fields(self) -> list[forms.BoundField]:
        """The fields of the new gate."""
        return [self[f"add-{name}"] for name in NEW_GATE_FIELDS]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        gates = []
        for gate in self.gates:
            value = cleaned.get(gate.key)
            if value is None:
                continue
            threshold = METRICS[gate.metric].unit.from_input(value)
            if gate in self.policy.gates and threshold == gate.threshold:
                gates.append(gate)  # with its stored title
                continue
            try:
                gates.append(replace(gate, threshold=threshold, title=""))
            except GateError:
                self.add_error(gate.key, _range(gate.metric))
        new_gate = self._new_gate(cleaned, gates)
        if new_gate is not None:
            gates.append(new_gate)
        if not gates and not self.errors:
            raise forms.ValidationError("Keep at least one gate. Without gates, no model can be approved.")
        cleaned["policy"] = GateSet(tuple(gates), bool(cleaned.get("only-look")))
        return cleaned

    def _new_gate(self, cleaned: dict[str, Any], gates: list[Gate]) -> Gate | None:
        """The new gate; None where its fields are empty, or invalid (an error then)."""
        values: dict[str, Any] = {name: cleaned.get(f"add-{name}") for name in NEW_GATE_FIELDS}
        if any(f"add-{name}" in self.errors for name in NEW_GATE_FIELDS):
            return None
        if values["threshold"] in (None, ""):
            if values["metric"]:
                self.add_error("add-threshold", "A gate needs a threshold.")
            return None
        metric = values["metric"]
        if not metric:
            self.add_error("add-metric", "Choose a metric.")
            return None
        try:
            gate = Gate(
                key=free_key([metric, values["field"], values["value"], values["slice"]], gates),
                metric=metric,
                operator=METRICS[metric].operator,
                threshold=METRICS[metric].unit.from_input(values["threshold"]),
                slice=values["slice"],
                compared_with=METRICS[metric].comparisons[0],
                field=values["field"],
                value=values["value"],
                currency=self.currency if METRICS[metric].unit.is_money else "",
            )
        except GateError as error:
            name = f"add-{error.field}"
            message = _range(metric) if error.field == "threshold" else f"This {error.message.split(';')[0]}."
            self.add_error(name if name in self.fields else None, message)
            return None
        if any(_same_gate(gate, other) for other in gates):
            self.add_error("add-metric", "The policy already has this gate. Change its threshold above.")
            return None
        return gate


def _same_gate(gate: Gate, other: Gate) -> bool:
    names = ("metric", "slice", "field", "value")
    return all(getattr(gate, name) == getattr(other, name) for name in names)


def free_key(parts: list[str], gates: list[Gate]) -> str:
    """A key that no other gate has."""
    key = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower()).strip("-")[:50] or "gate"
    taken = {gate.key for gate in gates}
    return next(name for name in (key, *(f"{key}-{number}" for number in range(2, 999))) if name not in taken)


def _number() -> forms.NumberInput:
    return narrow_number_input(step="any", min="0")


def _placeholder_gate(metric: str, policy: GateSet, currency: str) -> Gate:
    """The gate of a metric that the policy does not have, for the empty field that adds it."""
    key = free_key([metric], list(policy))
    kind = METRICS[metric]
    own = currency if kind.unit.is_money else ""
    return Gate(key, metric, kind.operator, 0.0, compared_with=kind.comparisons[0], currency=own)


def _title_without_number(gate: Gate) -> str:
    """The title of a gate without its number: "At least … % of outputs are schema-valid"."""
    title = METRICS[gate.metric].title.format("…")
    about = [f"{gate.field} = {gate.value}" if gate.value else gate.field, gate.slice]
    return f"{title} ({', '.join(part for part in about if part)})" if any(about) else title


def _range(metric: str) -> str:
    return "A number from 0 to 100." if METRICS[metric].unit.is_share else "A number of 0 or more."
