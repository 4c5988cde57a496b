"""Tags, notes and archive of training runs, and their hyperparameters as a column."""

from typing import Any

import django.contrib.postgres.fields
import yaml
from django.db import migrations, models

_NAMES = (
    *("method", "learning_rate", "epochs", "batch_size", "accumulation", "max_length", "seed", "too_long"),
    *("warmup_ratio", "scheduler", "precision", "activation_checkpointing", "devices", "early_stopping"),
)


def fill(apps: Any, schema_editor: Any) -> None:
    """Reads the hyperparameters of earlier runs from their specs; a spec that cannot be read leaves them empty."""
    runs = apps.get_model("training", "TrainingRun")
    changed = []
    for run in runs.objects.only("spec").iterator(200):
        try:
            spec = yaml.load(run.spec, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            lora = spec.get("lora") or {}
            values = {name: spec[name] for name in _NAMES if name in spec}
            batch = [int(spec.get(name, 1)) for name in ("batch_size", "accumulation", "devices")]
        except (yaml.YAMLError, AttributeError, TypeError, ValueError):
            continue
        values |= {f"lora_{name}": lora[name] for name in ("r", "alpha", "dropout") if name in lora}
        run.hyperparameters = {**values, "effective_batch": batch[0] * batch[1] * batch[2]}
        changed.append(run)
    runs.objects.bulk_update(changed, ["hyperparameters"], batch_size=200)


class Migration(migrations.Migration):
    dependencies = [("training", "0006_system_samples")]

    operations = [
        migrations.AddField(
            model_name="trainingrun",
            name="hyperparameters",
            field=models.JSONField(blank=True, default=dict, help_text="those of the spec, to sort and filter by"),
        ),
        migrations.AddField(
            model_name="trainingrun",
            name="tags",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(model_name="trainingrun", name="notes", field=models.TextField(blank=True)),
        migrations.AddField(
            model_name="trainingrun",
            name="archived_at",
            field=models.DateTimeField(blank=True, help_text="hidden in lists since; null: not archived", null=True),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
