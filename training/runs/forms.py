"""The form of a new run."""

import math
from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms.boundfield import BoundWidget

from labeling.models import DatasetVersion, Project
from slmstudio.web.requests import positive_int
from training.encoders.heads import Head, HeadPlan, plan_heads
from training.estimates.services import capabilities
from training.hyperparameters.definitions import (
    CUDA_ONLY,
    ENCODER_WINDOW,
    FIELDS,
    PACKAGES,
    Hyperparameters,
    range_of,
    values_of,
)
from training.hyperparameters.display import VALUE_LABELS, exact_text
from training.hyperparameters.presets import DEVICE_BATCH, with_effective_batch
from training.hyperparameters.validation import missing_package_message, problems
from training.models import BaseModel
from training.runs.queries import dataset_by_number


def dataset_label(dataset: DatasetVersion) -> str:
    """A dataset version with the sizes of its splits."""
    splits = dataset.counts.get("splits", {})
    return (
        f"v{dataset.number} · {splits.get('train', 0)} train, {splits.get('validation', 0)} validation, "
        f"{splits.get('holdout', 0)} hold-out"
    )


def base_model_label(model: BaseModel) -> str:
    """A base model with its size."""
    millions = model.parameters / 1e6
    size = f" · {millions:,.0f} M" if millions >= 10 else f" · {millions:.1f} M" if millions else ""
    family = " · encoder" if model.is_encoder else ""
    return f"{model.name}{size}{family}{'' if model.is_prepared else ' · not prepared'}"


class LabeledChoice(forms.ModelChoiceField):
    """A dataset version with the sizes of its splits, or a base model with its size."""

    def label_from_instance(self, obj: Any) -> str:
        return dataset_label(obj) if isinstance(obj, DatasetVersion) else base_model_label(obj)


class ChoiceForm(forms.Form):
    """Dataset and base model: the choices that the presets and the estimate depend on."""

    dataset = LabeledChoice(
        queryset=DatasetVersion.objects.none(), to_field_name="number", empty_label=None, label="Dataset version"
    )
    base_model = LabeledChoice(
        queryset=BaseModel.objects.none(), to_field_name="slug", empty_label=None, label="Base model"
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project
        datasets: Any = self.fields["dataset"]
        datasets.queryset = DatasetVersion.objects.filter(project=project).order_by("-number")
        datasets.error_messages["invalid_choice"] = "Dataset version not found in this project."
        models: Any = self.fields["base_model"]
        models.queryset = BaseModel.objects.usable(keep=self["base_model"].value()).by_size()
        known = ", ".join(model.slug for model in models.queryset) or "none"
        models.error_messages["invalid_choice"] = f"Base model not found. Available: {known}."

    @property
    def selected(self) -> tuple[DatasetVersion | None, BaseModel | None]:
        """The dataset and the base model that the form names, valid or not."""
        dataset = dataset_by_number(self.project, positive_int(str(self["dataset"].value())))
        return dataset, BaseModel.objects.with_slug(self["base_model"].value())


def number_input(**attrs: str) -> forms.NumberInput:
    """A field for a number."""
    return forms.NumberInput(attrs={"class": "form-control num-input", "autocomplete": "off", **attrs})


class DisabledChoices:
    """A widget in which unavailable choices are shown and disabled."""

    disabled_values: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)  # type: ignore[misc]
        if str(value) in self.disabled_values:
            option["attrs"]["disabled"] = True
        return option


class PartlyDisabledSelect(DisabledChoices, forms.Select):
    """A select with disabled options."""


class PartlyDisabledRadios(DisabledChoices, forms.RadioSelect):
    """Radio buttons, some disabled."""


class PartlyDisabledCheckboxes(DisabledChoices, forms.CheckboxSelectMultiple):
    """Checkboxes, some disabled."""


def setting(
    name: str,
    *,
    required: bool = True,
    choices: Sequence[tuple[str, str]] = (),
    widget: forms.Widget | None = None,
    placeholder: str = "",
) -> forms.Field:
    """The form field of a hyperparameter: its title, range, hint and default. One with a placeholder may be empty."""
    field, default = FIELDS[name], getattr(Hyperparameters, name)
    options: dict[str, Any] = {"label": field.title, "help_text": field.description or "", "initial": default}
    labels = {value: VALUE_LABELS.get(value, value) for value in values_of(name)}
    choices = choices or [(value, label[:1].upper() + label[1:]) for value, label in labels.items()]
    if choices:
        required = required and not isinstance(default, bool)
        return forms.ChoiceField(
            choices=choices, widget=widget or forms.Select(attrs={"class": "form-select"}), required=required, **options
        )
    low, _ = range_of(name)
    is_whole = default is None or isinstance(default, int)
    attrs = {"min": f"{math.floor(low)}", "step": "1" if is_whole else "any"}
    attrs |= {"placeholder": placeholder} if placeholder else {}
    kind = forms.IntegerField if is_whole else forms.FloatField
    return kind(widget=number_input(**attrs), required=required and not placeholder, **options)


class NewRunForm(ChoiceForm):
    """A new run: dataset, base model and hyperparameters. The service checks them together."""

    name = forms.CharField(
        required=False,
        max_length=120,
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "optional", "autocomplete": "off"}),
    )
    method = forms.ChoiceField(
        choices=[("lora", "LoRA adapter"), ("qlora", "QLoRA, 4-bit"), ("full", "Full fine-tuning")],
        widget=PartlyDisabledRadios,
        label="Method",
        error_messages={"required": "Choose an available method."},
    )
    #: the method that the form proposed, until another one is chosen
    proposed = forms.CharField(required=False, widget=forms.HiddenInput)
    epochs = setting("epochs")
    max_length = setting("max_length")
    effective_batch = forms.IntegerField(
        widget=number_input(min="1"),
        min_value=1,
        max_value=4096,
        label="Effective batch size",
        help_text="Documents per optimizer step. Smaller batches mean more, noisier steps.",
        error_messages={
            "min_value": "The effective batch size is at least 1.",
            "max_value": "The effective batch size is at most 4,096.",
        },
    )
    learning_rate = setting("learning_rate")
    precision = setting(
        "precision",
        choices=[("auto", "Automatic"), ("fp32", "32-bit"), ("bf16", "bfloat16"), ("fp16", "fp16")],
        widget=PartlyDisabledSelect(attrs={"class": "form-select"}),
    )
    activation_checkpointing = forms.BooleanField(
        required=False,
        label=FIELDS["activation_checkpointing"].title,
        help_text=FIELDS["activation_checkpointing"].description or "",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    lora_r = setting("lora_r")
    lora_alpha = setting("lora_alpha")
    lora_dropout = setting("lora_dropout")
    scheduler = setting("scheduler")
    warmup_ratio = setting("warmup_ratio")
    device_batch = forms.IntegerField(
        widget=number_input(min="1"),
        min_value=1,
        max_value=512,
        initial=DEVICE_BATCH,
        label=FIELDS["batch_size"].title,
        help_text=FIELDS["batch_size"].description or "",
        error_messages={"max_value": "The batch size per device is at most 512."},
    )
    seed = setting("seed")
    too_long = setting("too_long")
    early_stopping = setting("early_stopping", placeholder="off")
    best_metric = setting("best_metric", required=False)
    weight_averaging = setting("weight_averaging", required=False)
    ema_decay = setting("ema_decay", required=False)
    augmentation = setting("augmentation", required=False)
    keep_best_and_last = setting("keep_best_and_last", choices=[("on", "Yes"), ("", "Only the chosen weights")])
    eval_every = setting("eval_every", placeholder="automatic")
    save_every = setting("save_every", placeholder="automatic")
    sample_documents = setting("sample_documents", required=False)
    sample_seconds = setting("sample_seconds", placeholder="none")
    trackers = forms.MultipleChoiceField(
        choices=[("tensorboard", "TensorBoard"), ("wandb", "Weights & Biases, offline")],
        widget=PartlyDisabledCheckboxes(attrs={"class": "form-check-input"}),
        required=False,
        label=FIELDS["trackers"].title,
    )
    train_share = setting("train_share", required=False)
    silver = setting("silver", choices=[("", "Not used"), ("on", "Used for training")])
    devices = setting("devices", required=False)
    without_heads = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}), required=False
    )

    #: settings that are always shown; the others are under Advanced
    PRIMARY = ("max_length", "effective_batch", "learning_rate", "precision")
    ADVANCED = (
        *("lora_r", "lora_alpha", "lora_dropout", "scheduler", "warmup_ratio", "device_batch", "seed", "too_long"),
        *("early_stopping", "best_metric", "weight_averaging", "ema_decay", "augmentation", "keep_best_and_last"),
        *("eval_every", "save_every", "sample_documents", "sample_seconds", "train_share", "silver", "devices"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.capabilities = capabilities()
        not_installed = {value for value, package in PACKAGES.items() if package in self.capabilities["missing"]}
        disabled = not_installed if self.capabilities["cuda"] else not_installed | set(CUDA_ONLY)
        for name in ("method", "precision", "trackers"):
            widget: Any = self.fields[name].widget
            widget.disabled_values = frozenset(disabled)
        #: why a choice is unavailable
        self.reasons = {value: missing_package_message(value) for value in not_installed}
        for name in ("dataset", "base_model"):
            self.fields[name].widget.attrs["class"] = "form-select"
        dataset, base_model = self.selected
        #: the heads of an encoder for the dataset; None for a decoder
        self.head_plan: HeadPlan | None = None
        if dataset is not None and base_model is not None and base_model.is_encoder:
            self.head_plan = plan_heads(dataset.schema_version.compiled)
            widget = self.fields["method"].widget
            widget.disabled_values |= {"qlora"}
            self.fields[
                "max_length"
            ].help_text = (
                f"Tokens of a window, at most {ENCODER_WINDOW}. Longer documents are read in overlapping windows."
            )
            choices: Any = self.fields["without_heads"]
            choices.choices = [(head.pattern, head.pattern) for head in self.head_plan.heads]
        for name, field in self.fields.items():
            if name not in ("trackers", "without_heads"):  # a group of checkboxes is described as a whole
                field.widget.attrs.setdefault("aria-describedby", f"{name}-hint {name}-message")

    @property
    def advanced_fields(self) -> list[forms.BoundField]:
        """The other hyperparameters, without those of LoRA in full fine-tuning."""
        full, several = self["method"].value() == "full", self.capabilities["gpus"] > 1
        hidden = [name for name in self.ADVANCED if (full and name.startswith("lora_"))]
        if not several and str(self["devices"].value() or 1) == "1":
            hidden.append("devices")
        return [self[name] for name in self.ADVANCED if name not in hidden]

    @property
    def heads(self) -> list[tuple[Head, BoundWidget]]:
        """The heads of an encoder, each with the box that leaves it out."""
        return list(zip(self.head_plan.heads, self["without_heads"], strict=True)) if self.head_plan else []

    @property
    def field_names(self) -> list[str]:
        """Names of all hyperparameters in the form."""
        always: list[str] = ["dataset", "base_model", "method", "epochs", "activation_checkpointing", "trackers"]
        always += ["without_heads"] if self.head_plan else []
        return [*always, *self.PRIMARY, *(field.name for field in self.advanced_fields)]

    @property
    def advanced_has_errors(self) -> bool:
        """Whether an advanced setting has an error, so that they are unfolded."""
        return any(name in self.errors for name in (*self.ADVANCED, "trackers")) if self.is_bound else False

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        devices, batch = cleaned.get("devices") or 1, cleaned["effective_batch"]
        if devices > 1 and batch % devices:
            nearest = max(1, round(batch / devices)) * devices
            self.add_error(
                "effective_batch", f"{batch} documents cannot be split evenly over {devices} GPUs; use {nearest}."
            )
            return cleaned
        for field, message in problems(
            self.hyperparameters, encoder=cleaned["base_model"].is_encoder, **self.capabilities
        ).items():
            self.add_error(FIELD_OF.get(field, field), message)
        return cleaned

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters for the service; the default of an empty field. Only for a valid form."""
        values: dict[str, Any] = {}
        for name in Hyperparameters.__dataclass_fields__:
            default, value = getattr(Hyperparameters, name), self.cleaned_data.get(name)
            if isinstance(default, bool):
                values[name] = bool(value)
            elif value not in (None, ""):
                values[name] = tuple(value) if isinstance(default, tuple) else value
        batch, device_batch = self.cleaned_data["effective_batch"], self.cleaned_data["device_batch"]
        return with_effective_batch(Hyperparameters(**values), batch, device_batch)


#: hyperparameter -> form field, where the names differ
FIELD_OF = {"batch_size": "device_batch", "accumulation": "effective_batch"}


def initial_of(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Initial values of the form for these hyperparameters; reading them back gives the same ones."""
    initial: dict[str, Any] = {}
    for name in Hyperparameters.__dataclass_fields__.keys() & NewRunForm.base_fields.keys():
        value = getattr(hyperparameters, name)
        if name in ("silver", "keep_best_and_last"):
            value = "on" if value else ""
        elif isinstance(value, float):
            value = exact_text(value)
        initial[name] = list(value) if isinstance(value, tuple) else "" if value is None else value
    size = hyperparameters.batch_size
    initial["effective_batch"] = hyperparameters.effective_batch
    initial["device_batch"] = max(size, DEVICE_BATCH) if hyperparameters.accumulation == 1 else size
    return initial
