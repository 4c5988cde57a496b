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


def _fixed(name: str, digits: int) -> Callable[[TrainingRun], str]:
    def text(run: TrainingRun) -> str:
        value = getattr(run, name, None)
        return "–" if value is None else f"{value:,.{digits}f}"

    return text


def _share(name: str) -> Callable[[TrainingRun], str]:
    return lambda run: percent(getattr(run, name, None), 1)


def _hyperparameter(name: str) -> Callable[[TrainingRun], str]:
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


_METRIC_TEXTS: dict[str, tuple[str, str, Callable[[TrainingRun], str]]] = {
    "loss": ("Loss", "Training loss at the last step", _fixed("loss", 3)),
    "validation_loss": ("Validation loss", "Validation loss at the last evaluation", _fixed("validation_loss", 3)),
    "best_validation_loss": ("Best validation loss", "Lowest validation loss", _fixed("best_validation_loss", 3)),
    "field_exact": ("Field accuracy", "Field accuracy at the last evaluation", _share("field_exact")),
    "best_field_exact": ("Best field accuracy", "Highest field accuracy of an evaluation", _share("best_field_exact")),
    "schema_valid": ("Schema-valid", "Share of schema-valid outputs at the last evaluation", _share("schema_valid")),
    "tokens_per_second": ("Tokens/s", "Tokens per second at the last step", _fixed("tokens_per_second", 0)),
}
#: hyperparameters without those that have no order
_HYPERPARAMETER_NAMES = [name for name in TITLES if name != "trackers"]
_TEXT_HYPERPARAMETERS = (
    *("method", "precision", "scheduler", "too_long", "activation_checkpointing"),
    *("best_metric", "weight_averaging", "augmentation", "keep_best_and_last"),
)

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        *(Column(name, title, METRICS, text, name, hint) for name, (title, hint, text) in _METRIC_TEXTS.items()),
        Column(
            "peak_memory",
            "Peak memory",
            METRICS,
            _peak_memory,
            Cast(KT("facts__peak_memory_bytes"), FloatField()),
        ),
        Column(
            "duration",
            "Duration",
            METRICS,
            lambda run: duration(run.seconds),
            Coalesce(F("finished_at"), Now()) - F("started_at"),
        ),
        *(
            Column(
                name,
                TITLES[name],
                HYPERPARAMETERS,
                _hyperparameter(name),
                f"hyperparameters__{name}",
                is_number=name not in _TEXT_HYPERPARAMETERS,
            )
            for name in _HYPERPARAMETER_NAMES
        ),
        Column("dataset", "Dataset", FACTS, lambda run: f"v{run.dataset.number}", "dataset__number", is_number=False),
        Column("base_model", "Base model", FACTS, lambda run: run.base_model, "base_model__name", is_number=False),
        Column(
            "created_by",
            "Started by",
            FACTS,
            lambda run: run.created_by or "–",
            "created_by__username",
            is_number=False,
        ),
        Column(
            "created_at",
            "Started",
            FACTS,
            lambda run: relative_time(run.created_at),
            "created_at",
            is_number=False,
        ),
        Column("steps", "Steps", FACTS, lambda run: localize(run.progress_done, use_l10n=True), "progress_done"),
        Column("notes", "Notes", FACTS, lambda run: run.notes or "–", "notes", is_number=False),
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
