"""Titles and texts of hyperparameters for pages, forms and model cards. Pure."""

from slmstudio.text.formatting import exact_percent
from training.hyperparameters.definitions import FIELDS, Hyperparameters

#: titles of the hyperparameters, in the order of the page
TITLES = {
    name: FIELDS[name].title or "" if name in FIELDS else "Batch size"
    for name in (
        *("method", "max_length", "effective_batch", "learning_rate", "epochs", "precision"),
        *("activation_checkpointing", "lora_r", "lora_alpha", "lora_dropout", "scheduler", "warmup_ratio", "too_long"),
        *("seed", "early_stopping", "best_metric", "weight_averaging", "ema_decay", "augmentation"),
        *("keep_best_and_last", "eval_every", "save_every", "sample_documents", "sample_seconds", "devices"),
        *("trackers", "silver", "train_share", "without_heads"),
    )
}
PRIMARY = ("method", "max_length", "effective_batch", "learning_rate", "epochs", "precision")
VALUE_LABELS = {
    "lora": "LoRA adapter, merged",
    "qlora": "QLoRA adapter (4-bit), merged",
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
    "full": "full fine-tuning",
    "auto": "automatic",
    "windows": "Split into windows",
    "refuse": "Reject the run",
    "leave_out": "Leave out",
    "validation_loss": "Validation loss",
    "field_accuracy": "Field accuracy",
    "exchange": "Exchange values",
    "ema": "Exponential moving average",
}


def describe(hyperparameters: Hyperparameters, defaults: Hyperparameters) -> list[tuple[str, str, str, bool]]:
    """Title, text, the preset's text where it differs, and whether it is one of the most important, for each
    hyperparameter.
    """
    lines = []
    for name, title in TITLES.items():
        if name.startswith("lora_") and hyperparameters.method == "full":
            continue
        if name == "ema_decay" and hyperparameters.weight_averaging == "none":
            continue
        if name == "without_heads" and not hyperparameters.without_heads:
            continue
        text, preset_text = describe_value(name, hyperparameters), describe_value(name, defaults)
        lines.append((title, text, "" if text == preset_text else preset_text, name in PRIMARY))
    return lines


def describe_value(name: str, hyperparameters: Hyperparameters) -> str:
    """The value of one hyperparameter as text."""
    value = getattr(hyperparameters, name)
    if name == "effective_batch":
        parts = [
            f"{hyperparameters.batch_size} per device",
            f"{hyperparameters.accumulation} accumulated",
            f"{hyperparameters.devices} devices",
        ]
        shown = parts[:1] + [parts[1]] * (hyperparameters.accumulation > 1) + [parts[2]] * (hyperparameters.devices > 1)
        return f"{value} documents" + (f" ({', '.join(shown)})" if len(shown) > 1 else "")
    if name == "max_length":
        return f"{value:,} tokens"
    if name == "train_share":
        return exact_percent(round(value, 3))
    if name == "warmup_ratio":
        return f"{exact_percent(value)} of the steps"
    if name == "early_stopping":
        return f"patience {value}" if value else "off"
    if name in ("eval_every", "save_every"):
        return f"{value:,} step{'' if value == 1 else 's'}" if value else "automatic"
    if name == "sample_documents":
        return f"{value:,} at each evaluation" if value else "none"
    if name == "sample_seconds":
        return f"{value:,} s" if value else "none"
    if isinstance(value, tuple):
        return ", ".join(str(VALUE_LABELS.get(item, item)) for item in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return exact_text(value)
    return VALUE_LABELS.get(value, str(value))


def exact_text(value: float) -> str:
    """The shortest text that reads back as the same number: 0.001, 3, 2.125e-05."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
