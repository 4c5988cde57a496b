"""Hyperparameter searches become studies, and their trials rows of them."""

import django.db.models.deletion
import yaml
from django.db import migrations, models

RUN = (
    "project_id", "dataset_id", "number", "name", "status", "job_id", "progress_done", "progress_total", "stage", "error", "cancel_requested",
    "created_by_id", "created_at", "started_at", "heartbeat_at", "finished_at",
)
TRIAL = ("number", "parameters", "state", "values", "judged", "value", "prune_requested", "error")


def flat(text):
    """The values of a SearchSpec as they are named in the spec of a study."""
    values = yaml.safe_load(text)
    values.pop("version", None)
    space = {name: list(value) for name, value in (values.pop("space", None) or {}).items()}
    for name in ("learning_rate", "epochs"):
        if name in space:
            values[f"{name}_low"], values[f"{name}_high"] = space.pop(name)
    for name in ("learning_rate_low", "learning_rate_high", "hours"):
        if name in values:
            values[name] = float(values[name])
    return {**values, **space}


def move(apps, schema_editor):
    search_model, study_model = apps.get_model("training", "Search"), apps.get_model("labeling", "Study")
    run_model = apps.get_model("training", "TrainingRun")
    for search in search_model.objects.order_by("pk"):
        trials = list(search.trials.select_related("run").order_by("number"))
        rows = [
            {**{name: getattr(trial, name) for name in TRIAL}, "run": trial.run.number if trial.run else None}
            for trial in trials
        ]
        complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
        best = max(complete, key=lambda row: (row["value"], -row["number"]), default=None)
        result = {"outcome": search.outcome, "best": best["number"] if best else None}
        if best:
            result["summary"] = f"{100 * best['value']:.1f}% field accuracy"
        study = study_model.objects.create(
            **{name: getattr(search, name) for name in RUN},
            kind="search",
            spec=flat(search.spec),
            trials=rows,
            result=result if search.outcome else {},
        )
        run_model.objects.filter(pk__in=[trial.run_id for trial in trials if trial.run_id]).update(study=study)
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0003_studies"),
        ("training", "0002_plain_labels"),
    ]

    operations = [
        migrations.AddField(
            model_name="trainingrun",
            name="study",
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="training_runs", to="labeling.study"),
        ),
        migrations.RunPython(move, migrations.RunPython.noop),
        migrations.DeleteModel(name="Trial"),
        migrations.DeleteModel(name="Search"),
    ]
