"""Parsing what a person fills in for a new run."""

from typing import Any

from django import forms

from labeling.models import DatasetVersion, Project
from training.estimates.machines import abilities
from training.models import BaseModel
from training.runs.presets import (
    DEVICE_BATCH,
    ONLY_CUDA,
    PACKAGES,
    Knobs,
    exact,
    not_installed,
    problems,
    with_effective_batch,
)


class DatasetChoice(forms.ModelChoiceField):
    """Dataset versions of a project by their number, with what is in them."""

    def label_from_instance(self, obj: Any) -> str:
        splits = obj.counts.get("splits", {})
        return (
            f"v{obj.number} · {splits.get('train', 0)} train, {splits.get('validation', 0)} validation, "
            f"{splits.get('holdout', 0)} hold-out"
        )


class BaseModelChoice(forms.ModelChoiceField):
    """Base models by their slug."""

    def label_from_instance(self, obj: Any) -> str:
        millions = obj.parameters / 1e6
        size = f" · {millions:,.0f} M" if millions >= 10 else f" · {millions:.1f} M" if millions else ""
        return f"{obj.name}{size}{'' if obj.ready else ' · not prepared yet'}"


class ChoiceForm(forms.Form):
    """The two choices everything else hangs on."""

    dataset = DatasetChoice(
        queryset=DatasetVersion.objects.none(), to_field_name="number", empty_label=None, label="Dataset version"
    )
    base_model = BaseModelChoice(
        queryset=BaseModel.objects.none(), to_field_name="slug", empty_label=None, label="Base model"
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        datasets: Any = self.fields["dataset"]
        datasets.queryset = DatasetVersion.objects.filter(project=project).order_by("-number")
        datasets.error_messages["invalid_choice"] = "There is no such dataset version in this project."
        models: Any = self.fields["base_model"]
        models.queryset = BaseModel.objects.order_by("parameters", "name")
        known = ", ".join(model.slug for model in models.queryset) or "none"
        models.error_messages["invalid_choice"] = f"There is no such base model. Known are: {known}."


_NUMBER = {"class": "form-control num-input", "autocomplete": "off"}


def _number(**attrs: str) -> forms.NumberInput:
    return forms.NumberInput(attrs={**_NUMBER, **attrs})


def _select() -> forms.Select:
    return forms.Select(attrs={"class": "form-select"})


class _Barred:
    """Choices of a select or of radios that cannot be had here are shown, but cannot be chosen."""

    barred: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)  # type: ignore[misc]
        if str(value) in self.barred:
            option["attrs"]["disabled"] = True
        return option


class BarredSelect(_Barred, forms.Select):
    """A select, some of whose options are disabled."""


class BarredRadios(_Barred, forms.RadioSelect):
    """Radios, some of which are disabled."""


class BarredBoxes(_Barred, forms.CheckboxSelectMultiple):
    """Boxes, some of which are disabled."""


class NewRunForm(ChoiceForm):
    """A new run: dataset, base model and knobs. Whether they make sense together is the service's to say."""

    name = forms.CharField(
        required=False,
        max_length=120,
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "optional", "autocomplete": "off"}),
    )
    method = forms.ChoiceField(
        choices=[("lora", "LoRA adapter"), ("qlora", "QLoRA, 4-bit"), ("full", "Full fine-tuning")],
        widget=BarredRadios,
        label="Method",
        error_messages={"required": "Choose a method that can be had here."},
    )
    epochs = forms.FloatField(widget=_number(step="any", min="0"), label="Epochs")
    max_length = forms.IntegerField(widget=_number(min="16", step="1"), label="Max sequence length")
    effective_batch = forms.IntegerField(
        widget=_number(min="1"),
        min_value=1,
        max_value=4096,
        label="Effective batch size",
        error_messages={
            "min_value": "At least one document stands behind a step.",
            "max_value": "At most 4,096 documents stand behind a step.",
        },
    )
    learning_rate = forms.FloatField(widget=_number(step="any", min="0"), label="Learning rate")
    precision = forms.ChoiceField(
        choices=[("auto", "automatic"), ("fp32", "32-bit"), ("bf16", "bfloat16"), ("fp16", "fp16")],
        widget=BarredSelect(attrs={"class": "form-select"}),
        label="Precision",
    )
    activation_checkpointing = forms.BooleanField(
        required=False,
        label="Recompute activations",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    lora_r = forms.IntegerField(widget=_number(min="1"), label="LoRA rank (r)")
    lora_alpha = forms.IntegerField(widget=_number(min="1"), label="LoRA alpha")
    lora_dropout = forms.FloatField(widget=_number(step="any", min="0"), label="LoRA dropout")
    scheduler = forms.ChoiceField(
        choices=[("cosine", "cosine"), ("linear", "linear"), ("constant", "constant")], widget=_select()
    )
    warmup_ratio = forms.FloatField(widget=_number(step="any", min="0"), label="Warm-up (share of the steps)")
    at_once = forms.IntegerField(
        widget=_number(min="1"),
        min_value=1,
        max_value=512,
        initial=DEVICE_BATCH,
        label="Documents at once",
        error_messages={"max_value": "At most 512 documents go through the model at once."},
    )
    seed = forms.IntegerField(widget=_number(min="0"), label="Seed")
    too_long = forms.ChoiceField(
        choices=[("refuse", "refuse the run"), ("leave_out", "leave them out")],
        widget=_select(),
        label="Documents over the limit",
    )

    devices = forms.IntegerField(widget=_number(min="1"), initial=1, required=False, label="GPUs")
    early_stopping = forms.IntegerField(
        widget=_number(min="1", placeholder="off"), required=False, label="Early stopping (looks)"
    )
    trackers = forms.MultipleChoiceField(
        choices=[("tensorboard", "TensorBoard"), ("wandb", "Weights & Biases, offline")],
        widget=BarredBoxes(attrs={"class": "form-check-input"}),
        required=False,
        label="Also write for",
    )

    #: shown in front, besides what is trained on what; the rest is folded away
    FRONT = ("max_length", "effective_batch", "learning_rate", "precision")
    FOLDED = (
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "scheduler",
        "warmup_ratio",
        "at_once",
        "seed",
        "too_long",
        "early_stopping",
        "devices",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.abilities = abilities()
        lacking = {value for value, package in PACKAGES.items() if package in self.abilities["missing"]}
        barred = lacking if self.abilities["cuda"] else lacking | set(ONLY_CUDA)
        for name in ("method", "precision", "trackers"):
            widget: Any = self.fields[name].widget
            widget.barred = frozenset(barred)
        #: why some choices cannot be had here
        self.reasons = {value: not_installed(value) for value in lacking}
        for name in ("dataset", "base_model"):
            self.fields[name].widget.attrs["class"] = "form-select"
        for name, field in self.fields.items():
            if name != "trackers":  # a group of boxes, which is described as a whole
                field.widget.attrs.setdefault("aria-describedby", f"{name}-hint {name}-said")

    @property
    def front(self) -> list[forms.BoundField]:
        """The four knobs that matter."""
        return [self[name] for name in self.FRONT]

    @property
    def folded(self) -> list[forms.BoundField]:
        """The other knobs; those of LoRA are left out where every weight is trained."""
        full, several = self["method"].value() == "full", self.abilities["gpus"] > 1
        hidden = [name for name in self.FOLDED if (full and name.startswith("lora_"))]
        if not several and str(self["devices"].value() or 1) == "1":
            hidden.append("devices")
        return [self[name] for name in self.FOLDED if name not in hidden]

    @property
    def shown(self) -> list[str]:
        """Names of all knobs that stand in the form."""
        aside = ("dataset", "base_model", "method", "epochs", "activation_checkpointing", "trackers")
        return [*aside, *self.FRONT, *(field.name for field in self.folded)]

    @property
    def folded_wrong(self) -> bool:
        """Whether a message would be hidden in what is folded."""
        return any(name in self.errors for name in (*self.FOLDED, "trackers")) if self.is_bound else False

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        devices, batch = cleaned.get("devices") or 1, cleaned["effective_batch"]
        if devices > 1 and batch % devices:
            nearest = max(1, round(batch / devices)) * devices
            self.add_error("effective_batch", f"{devices} GPUs cannot share {batch} evenly; take {nearest}.")
            return cleaned
        for field, message in problems(self.knobs, **self.abilities).items():
            self.add_error(FIELD_OF.get(field, field), message)
        return cleaned

    @property
    def knobs(self) -> Knobs:
        """The knobs as the service takes them; call it only on valid input."""
        values = {name: self.cleaned_data[name] for name in Knobs.__dataclass_fields__ if name in self.cleaned_data}
        values["devices"] = values.get("devices") or 1
        values["trackers"] = tuple(values.get("trackers") or ())
        return with_effective_batch(Knobs(**values), self.cleaned_data["effective_batch"], self.cleaned_data["at_once"])

    def refuse(self, errors: dict[str, str]) -> None:
        """Puts a refusal's sentences beside the fields they are about."""
        for field, message in errors.items():
            name = FIELD_OF.get(field, field)
            self.add_error(name if name in self.fields else None, message)


#: knobs that have another name in the form
FIELD_OF = {"batch_size": "at_once", "accumulation": "effective_batch"}


def initial_of(knobs: Knobs) -> dict[str, Any]:
    """What the form shows for these knobs; read back, it gives the very same ones."""
    return {
        **{name: getattr(knobs, name) for name in Knobs.__dataclass_fields__ if name in NewRunForm.base_fields},
        **{name: exact(getattr(knobs, name)) for name in ("learning_rate", "epochs", "lora_dropout", "warmup_ratio")},
        "early_stopping": knobs.early_stopping or "",
        "trackers": list(knobs.trackers),
        "effective_batch": knobs.effective_batch,
        "at_once": max(knobs.batch_size, DEVICE_BATCH if knobs.accumulation == 1 else knobs.batch_size),
    }
