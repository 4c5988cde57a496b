"""The columns of the run table: metrics, hyperparameters and facts of a run, each with its text and its order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Expression, F, FloatField
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Now
from django.utils.formats import localize

from slmstudio.templatetags.studio import relative_time
from slmstudio.text.formatting import duration, format_bytes, percent
from training.hyperparameters.definitions import FIELDS, Hyperparameters, values_of
from training.hyperparameters.display import TITLES, VALUE_LABELS, exact_text
from training.models.runs import RUN_METRICS, TrainingRun

METRICS, HYPERPARAMETERS, FACTS = "Metrics", "Hyperparameters", "Run"


@dataclass(frozen=True)
class Column:
    """A column that can be shown and sorted by. ``text``: what a cell of it shows; ``order``: an expression."""

    name: str
    title: str
    group: str
    text: Callable[[TrainingRun], Any]
    order: str | Combinable | Expression
    hint: str = ""
    is_number: bool = True


def _metric_text(name: str) -> Callable[[TrainingRun], str]:
    """The annotation of a metric: a share as a percentage, a loss with three digits."""

    def text(run: TrainingRun) -> str:
        value = getattr(run, name, None)
        if "loss" not in name and name != "tokens_per_second":
            return percent(value, 1)
        digits = 3 if "loss" in name else 0
        return "–" if value is None else f"{value:,.{digits}f}"

    return text


def _hyperparameter_text(name: str) -> Callable[[TrainingRun], str]:
    def text(run: TrainingRun) -> str:
        values = run.hyperparameters or {}
        value = values.get(name)
        if value in (None, "") or (name.startswith("lora_") and values.get("method") == "full"):
            return "–"
        if name == "ema_decay" and values.get("weight_averaging") != "ema":
            return "–"
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float):
            return exact_text(value)
        if name == "method":
            return {"lora": "LoRA", "qlora": "QLoRA", "full": "full"}.get(str(value), str(value))
        return f"{value:,}" if isinstance(value, int) and name != "seed" else VALUE_LABELS.get(str(value), str(value))

    return text


def _peak_memory(run: TrainingRun) -> str:
    size = (run.facts or {}).get("peak_memory_bytes")
    return format_bytes(size) if size else "–"


#: metric -> title and hint
_METRICS = {
    "loss": ("Loss", "Training loss at the last step"),
    "validation_loss": ("Validation loss", "Validation loss at the last evaluation"),
    "best_validation_loss": ("Best validation loss", "Lowest validation loss"),
    "field_exact": ("Field accuracy", "Field accuracy at the last evaluation"),
    "best_field_exact": ("Best field accuracy", "Highest field accuracy of an evaluation"),
    "schema_valid": ("Schema-valid", "Share of schema-valid outputs at the last evaluation"),
    "tokens_per_second": ("Tokens/s", "Tokens per second at the last step"),
}
_MEMORY_ORDER = Cast(KT("facts__peak_memory_bytes"), FloatField())
_DURATION_ORDER = Coalesce(F("finished_at"), Now()) - F("started_at")
#: facts of a run: name, title, text, order
_FACTS: tuple[tuple[str, str, Callable[[TrainingRun], Any], str], ...] = (
    ("dataset", "Dataset", lambda run: f"v{run.dataset.number}", "dataset__number"),
    ("base_model", "Base model", lambda run: run.base_model, "base_model__name"),
    ("created_by", "Started by", lambda run: run.created_by or "–", "created_by__username"),
    ("created_at", "Started", lambda run: relative_time(run.created_at), "created_at"),
    ("notes", "Notes", lambda run: run.notes or "–", "notes"),
)
#: hyperparameters without those that have no order
_HYPERPARAMETERS = [name for name in TITLES if name not in ("trackers", "without_heads")]
#: those that are choices
_WORDS = {name for name in FIELDS if values_of(name) or isinstance(getattr(Hyperparameters, name), bool)}

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        *(Column(name, title, METRICS, _metric_text(name), name, hint) for name, (title, hint) in _METRICS.items()),
        Column("peak_memory", "Peak memory", METRICS, _peak_memory, _MEMORY_ORDER),
        Column("duration", "Duration", METRICS, lambda run: duration(run.seconds), _DURATION_ORDER),
        *(
            Column(
                name,
                TITLES[name],
                HYPERPARAMETERS,
                _hyperparameter_text(name),
                f"hyperparameters__{name}",
                is_number=name not in _WORDS,
            )
            for name in _HYPERPARAMETERS
        ),
        Column("steps", "Steps", FACTS, lambda run: localize(run.progress_done, use_l10n=True), "progress_done"),
        *(Column(name, title, FACTS, text, order, is_number=False) for name, title, text, order in _FACTS),
    )
}
DEFAULT_COLUMNS = (
    *("loss", "validation_loss", "field_exact", "method", "learning_rate", "epochs"),
    *("dataset", "base_model", "duration", "created_by", "created_at"),
)
#: columns that are always shown and can be sorted by
FIXED_ORDERS: dict[str, str] = {"number": "number", "name": "name", "state": "status"}


def known_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are columns, each once, in the order given."""
    return tuple(dict.fromkeys(name for name in names if name in COLUMNS))


def metrics_of(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics among some columns."""
    return tuple(name for name in names if name in RUN_METRICS)


def order_of(name: str) -> Any:
    """The expression that sorts by a column; None for an unknown name."""
    if name in FIXED_ORDERS:
        return F(FIXED_ORDERS[name])
    order = COLUMNS[name].order if name in COLUMNS else None
    return F(order) if isinstance(order, str) else order


def grouped() -> dict[str, list[Column]]:
    """All columns by group, for a choice."""
    return {
        group: [column for column in COLUMNS.values() if column.group == group]
        for group in (METRICS, HYPERPARAMETERS, FACTS)
    }
