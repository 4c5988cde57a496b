"""The form of a gate policy: the thresholds that are there, and one more gate about some documents or one field."""

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.http import QueryDict

from evaluation.gates.policy.definition import DEPLOYED, METRICS, Gate, GateError, GatePolicy, plain
from evaluation.gates.policy.proposals import LONGEST

#: fields of the form that make up the gate that is added
ADD = ("metric", "threshold", "slice", "field", "value")
_TEXT = {"class": "form-control", "autocomplete": "off"}


class ReasonForm(forms.Form):
    """Why a policy is proposed."""

    reason = forms.CharField(
        label="Why",
        max_length=LONGEST,
        widget=forms.Textarea(attrs={"class": "form-control", "rows": 3}),
        help_text="Whoever decides reads it first, and it stays in the audit log.",
        error_messages={"required": "Say why: whoever decides reads it first."},
    )


class AnswerForm(forms.Form):
    """What is done about a proposal, and what is said about it."""

    do = forms.ChoiceField(choices=[(name, name) for name in ("take", "decline", "withdraw")])
    seen = forms.IntegerField(required=False)  # the policy that the changes were shown about
    answer = forms.CharField(
        label="Your answer",
        max_length=LONGEST,
        required=False,
        widget=forms.Textarea(attrs={"class": "form-control", "rows": 2}),
    )


class PolicyForm(forms.Form):
    """The thresholds of the gates, in the units people read: per cent, milliseconds. An empty one is no gate.

    ``fields_known``: (pattern, title) of the schema's fields; ``slices_known``: (slice, words) that documents have.
    """

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        policy: GatePolicy,
        fields_known: list[tuple[str, str]] | None = None,
        slices_known: list[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(data)
        self.policy = policy
        self.slices_known = slices_known or []
        used = {gate.metric for gate in policy if not (gate.slice or gate.field)}
        missing = [name for name, metric in METRICS.items() if name not in used and metric.field != "must"]
        self.gates = [*policy, *(_unset(metric, policy) for metric in missing)]
        for gate in self.gates:
            initial = _shown(gate) if gate in list(policy) else None
            self.fields[gate.key] = forms.FloatField(
                label=_question(gate), required=False, initial=initial, widget=_number()
            )
        self._add_fields(fields_known or [])
        self.fields["only-look"] = forms.BooleanField(
            label="One look at a hold-out, and no other",
            required=False,
            initial=policy.only_look,
            help_text="It may spend the whole error level; a second look at the same documents then proves nothing.",
            widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
        )

    def _add_fields(self, known: list[tuple[str, str]]) -> None:
        metrics = [("", "none"), *((name, metric.title.format("…")) for name, metric in METRICS.items())]
        select = {"class": "form-select"}
        self.fields["add-metric"] = forms.ChoiceField(
            label="What", required=False, choices=metrics, widget=forms.Select(attrs=select)
        )
        self.fields["add-threshold"] = forms.FloatField(label="Threshold", required=False, widget=_number())
        self.fields["add-slice"] = forms.CharField(
            label="For which documents",
            required=False,
            max_length=200,
            help_text="Empty: all. A failure tag, or metadata.KEY=VALUE.",
            widget=forms.TextInput(attrs={**_TEXT, "list": "slices-known"}),
        )
        self.fields["add-field"] = forms.ChoiceField(
            label="For which field",
            required=False,
            choices=[("", "all of them"), *((pattern, f"{title} ({pattern})") for pattern, title in known)],
            widget=forms.Select(attrs=select),
        )
        self.fields["add-value"] = forms.CharField(
            label="For which of its values",
            required=False,
            max_length=200,
            help_text="Empty: all. For recall of one class, such as billing.",
            widget=forms.TextInput(attrs=_TEXT),
        )

    def rows(self) -> list[dict[str, Any]]:
        """The gates with their field, unit and whether there is a gate now, for the page."""
        return [
            {"gate": gate, "field": self[gate.key], "unit": unit(gate.metric), "set": gate in list(self.policy)}
            for gate in self.gates
        ]

    @property
    def only_look(self) -> forms.BoundField:
        """The promise to look once."""
        return self["only-look"]

    @property
    def adding(self) -> list[forms.BoundField]:
        """The fields of the gate that may be added."""
        return [self[f"add-{name}"] for name in ADD]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        gates = []
        for gate in self.gates:
            value = cleaned.get(gate.key)
            if value is None:
                continue
            try:
                gates.append(replace(gate, threshold=_threshold(gate.metric, value), title=""))
            except GateError:
                self.add_error(gate.key, _range(gate.metric))
        added = self._added(cleaned, gates)
        if added is not None:
            gates.append(added)
        if not gates and not self.errors:
            raise forms.ValidationError("Keep at least one gate: a policy without any lets nothing ship.")
        cleaned["policy"] = GatePolicy(tuple(gates), bool(cleaned.get("only-look")))
        return cleaned

    def _added(self, cleaned: dict[str, Any], gates: list[Gate]) -> Gate | None:
        """The gate that is added; None where nothing of it was given, or where it makes no sense (an error then)."""
        given: dict[str, Any] = {name: cleaned.get(f"add-{name}") for name in ADD}
        if any(f"add-{name}" in self.errors for name in ADD) or given["threshold"] in (None, ""):
            if given["metric"] and "add-threshold" not in self.errors:
                self.add_error("add-threshold", "A gate needs a threshold.")
            return None
        metric = given["metric"]
        if not metric:
            self.add_error("add-metric", "Choose what the threshold is about.")
            return None
        try:
            gate = Gate(
                key=free_key([metric, given["field"], given["value"], given["slice"]], gates),
                metric=metric,
                operator=METRICS[metric].operator,
                threshold=_threshold(metric, given["threshold"]),
                slice=given["slice"],
                compared_with=DEPLOYED if METRICS[metric].paired else "",
                field=given["field"],
                value=given["value"],
            )
        except GateError as error:
            name = f"add-{error.field}"
            message = _range(metric) if error.field == "threshold" else f"This {error.message.split(';')[0]}."
            self.add_error(name if name in self.fields else None, message)
            return None
        if any(_same_question(gate, other) for other in gates):
            self.add_error("add-metric", "The policy has this gate already; change its threshold above.")
            return None
        return gate


def _same_question(one: Gate, other: Gate) -> bool:
    names = ("metric", "slice", "field", "value")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def free_key(parts: list[str], gates: list[Gate]) -> str:
    """A key for a gate that none of the others has."""
    key = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower()).strip("-")[:50] or "gate"
    taken = {gate.key for gate in gates}
    return next(name for name in (key, *(f"{key}-{number}" for number in range(2, 999))) if name not in taken)


def _number() -> forms.NumberInput:
    return forms.NumberInput(attrs={"class": "form-control num-input", "step": "any", "min": "0"})


def _unset(metric: str, policy: GatePolicy) -> Gate:
    """A gate that is not there yet, for the empty field that would add it."""
    compared_with = DEPLOYED if METRICS[metric].paired else ""
    key = free_key([metric], list(policy))
    return Gate(key, metric, METRICS[metric].operator, 0.0, compared_with=compared_with)


def _threshold(metric: str, value: float) -> float:
    return round(value / 100, 12) if METRICS[metric].percent else value


def _shown(gate: Gate) -> str:
    return plain(gate.threshold * 100 if METRICS[gate.metric].percent else gate.threshold).replace(",", "")


def _question(gate: Gate) -> str:
    """The title of a gate without its number: "At least … % of outputs are schema-valid"."""
    words = METRICS[gate.metric].title.format("…")
    about = [f"{gate.field} = {gate.value}" if gate.value else gate.field, gate.slice]
    return f"{words} ({', '.join(part for part in about if part)})" if any(about) else words


def _range(metric: str) -> str:
    return "A number from 0 to 100." if METRICS[metric].percent else "A number of 0 or more."


def unit(metric: str) -> str:
    """The unit in which a metric's threshold is typed."""
    return {
        "no_regression": "points",
        "pinned_broken": "documents",
        "p95_latency_ms": "ms",
        "requests_per_second": "per second",
        "cost_per_request": "each",
        "peak_memory_gb": "GB",
    }.get(metric, "%")
