"""Prompt searches, learning curves and label checks become studies; challenges and pipeline runs get their names."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

RUN = (
    "project_id", "number", "status", "job_id", "progress_done", "progress_total", "stage", "error", "cancel_requested",
    "created_by_id", "created_at", "started_at", "heartbeat_at", "finished_at",
)


def columns(run):
    return {name: getattr(run, name) for name in RUN}


def move(apps, schema_editor):
    study_model = apps.get_model("labeling", "Study")
    for prompt in apps.get_model("evaluation", "OptimizedPrompt").objects.select_related("base_model").order_by("pk"):
        facts = dict(prompt.facts)
        settings_then = facts.pop("settings", None)
        trials = [{**trial, "settings": settings_then} for trial in prompt.trials]
        best = max((trial["accuracy"] for trial in trials), default=None)
        result = {"instruction": prompt.instruction, "examples": prompt.examples, "summary": f"{100 * (best or 0):.1f}% field accuracy"}
        prompt.study = study_model.objects.create(
            **columns(prompt),
            kind="prompt",
            on_gpu=True,
            dataset_id=prompt.dataset_id,
            spec={
                "model": f"base-{prompt.base_model.slug}" if prompt.base_model else f"endpoint-{prompt.endpoint_id}",
                "documents": len(prompt.documents),
                "trials": prompt.max_trials,
                "minutes": prompt.max_minutes,
                "cost": prompt.max_cost,
            },
            trials=trials,
            result=result if prompt.status == "done" else {},
            facts={**facts, "folder": f"prompts/{prompt.pk}"},
        )
        prompt.save(update_fields=["study"])
    for curve in apps.get_model("evaluation", "LearningCurve").objects.select_related("base_model").order_by("pk"):
        points = list(curve.points.select_related("training_run", "eval_run").order_by("share", "seed"))
        trials = [
            {
                "share": point.share,
                "seed": point.seed,
                "labels": point.labels,
                "fields": point.fields,
                "seconds": point.seconds,
                "training_run": point.training_run.number if point.training_run else None,
                "eval_run": point.eval_run.number if point.eval_run else None,
            }
            for point in points
            if point.fields or curve.base_model_id
        ]
        right, scored = next((point.fields[""] for point in reversed(points) if point.fields.get("")), (0, 0))
        study = study_model.objects.create(
            **columns(curve),
            kind="learning-curve",
            dataset_id=curve.dataset_id,
            spec={
                "dataset": curve.dataset.number,
                "model": curve.base_model.slug if curve.base_model else "classifier",
                "seeds": curve.seeds,
                "max_hours": curve.max_hours,
            },
            trials=trials,
            result={"summary": f"{100 * right / scored:.1f}% accuracy"} if curve.status == "done" and scored else {},
        )
        for model, name in (("TrainingRun", "training_run_id"), ("EvalRun", "eval_run_id")):
            app = "training" if model == "TrainingRun" else "evaluation"
            keys = [getattr(point, name) for point in points if getattr(point, name)]
            apps.get_model(app, model).objects.filter(pk__in=keys).update(study=study)
    suspects = apps.get_model("evaluation", "SuspectLabel")
    checks = apps.get_model("evaluation", "LabelCheckRun").objects.select_related("schema_version", "eval_run__dataset")
    for check in checks.order_by("pk"):
        number = check.eval_run.number if check.eval_run else 0
        facts = {**check.facts, "schema": check.schema_version.number}
        if "documents" in facts:
            found = suspects.objects.filter(run=check).count()
            facts["summary"] = f"{found:,} suspect of {facts['documents']:,} documents"
        study = study_model.objects.create(
            **columns(check),
            kind="label-check",
            dataset_id=check.eval_run.dataset_id if check.eval_run else None,
            spec={"source": f"evaluation-{number}" if check.source == "evaluation" else check.source},
            result=facts,
        )
        suspects.objects.filter(run=check).update(study=study)
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


PROMPT_COLUMNS = (
    "cancel_requested", "created_at", "created_by", "error", "facts", "finished_at", "heartbeat_at", "job_id",
    "max_cost", "max_minutes", "max_trials", "progress_done", "progress_total", "seed", "stage", "started_at", "status",
    "trials",
)


def challenge(field, to, on_delete, **options):
    options = {"related_name": "label_challenges", **options}
    return migrations.AlterField("labelchallenge", field, models.ForeignKey(on_delete=on_delete, to=to, **options))


def pipeline(field, to, on_delete):
    return migrations.AlterField(
        "pipelinerun", field, models.ForeignKey(on_delete=on_delete, related_name="pipelines", to=to)
    )


def prompt(field, to, on_delete=django.db.models.deletion.PROTECT, **options):
    options = {"related_name": "+", **options}
    return migrations.AlterField("optimizedprompt", field, models.ForeignKey(on_delete=on_delete, to=to, **options))


CASCADE, PROTECT, SET_NULL = (getattr(django.db.models.deletion, name) for name in ("CASCADE", "PROTECT", "SET_NULL"))
EMPTY = {"blank": True, "null": True}


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0003_studies"),
        ("training", "0003_studies"),
        ("evaluation", "0002_plain_labels"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint("goldquestion", "gold_question_open_once"),
        migrations.RenameModel("GoldQuestion", "LabelChallenge"),
        challenge("document", "labeling.document", CASCADE),
        challenge("eval_run", "evaluation.evalrun", SET_NULL, **EMPTY),
        challenge("project", "labeling.project", CASCADE),
        migrations.AddConstraint(
            "labelchallenge",
            models.UniqueConstraint(
                condition=models.Q(("answer", "open")), fields=("document",), name="label_challenge_open_once"
            ),
        ),
        migrations.RenameModel("LoopRun", "PipelineRun"),
        pipeline("dataset", "labeling.datasetversion", PROTECT),
        pipeline("project", "labeling.project", CASCADE),
        pipeline("training_run", "training.trainingrun", PROTECT),
        migrations.RenameModel("PromptSearch", "OptimizedPrompt"),
        migrations.AddField(
            "evalrun", "study", models.ForeignKey(**EMPTY, on_delete=SET_NULL, related_name="eval_runs", to="labeling.study")
        ),
        migrations.AddField(
            "optimizedprompt",
            "study",
            models.OneToOneField(null=True, on_delete=CASCADE, related_name="prompt", to="labeling.study"),
        ),
        migrations.AddField(
            "suspectlabel",
            "study",
            models.ForeignKey(db_index=False, null=True, on_delete=CASCADE, related_name="+", to="labeling.study"),
        ),
        migrations.RunPython(move, migrations.RunPython.noop),
        migrations.AlterField(
            "optimizedprompt",
            "study",
            models.OneToOneField(on_delete=CASCADE, related_name="prompt", to="labeling.study"),
        ),
        *(migrations.RemoveField("optimizedprompt", name) for name in PROMPT_COLUMNS),
        migrations.RemoveConstraint("optimizedprompt", "prompt_search_number_once"),
        migrations.RemoveConstraint("optimizedprompt", "prompt_search_has_one_model"),
        prompt("project", "labeling.project", CASCADE, related_name="optimized_prompts"),
        prompt("dataset", "labeling.datasetversion"),
        prompt("base_model", "training.basemodel", **EMPTY),
        prompt("endpoint", "evaluation.endpoint", **EMPTY),
        migrations.AddConstraint(
            "optimizedprompt", models.UniqueConstraint(fields=("project", "number"), name="prompt_number_once")
        ),
        migrations.AddConstraint(
            "optimizedprompt",
            models.CheckConstraint(
                condition=models.Q(("base_model__isnull", False), ("endpoint__isnull", True))
                | models.Q(("base_model__isnull", True), ("endpoint__isnull", False)),
                name="prompt_has_one_model",
            ),
        ),
        migrations.RemoveConstraint("suspectlabel", "suspect_place_once"),
        migrations.RemoveField("suspectlabel", "run"),
        migrations.RenameField("suspectlabel", "study", "run"),
        migrations.AlterField(
            "suspectlabel",
            "run",
            models.ForeignKey(db_index=False, on_delete=CASCADE, related_name="suspects", to="labeling.study"),
        ),
        migrations.AddConstraint(
            "suspectlabel", models.UniqueConstraint(fields=("run", "place"), name="suspect_place_once")
        ),
        migrations.DeleteModel("LabelCheckRun"),
        migrations.DeleteModel("LearningPoint"),
        migrations.DeleteModel("LearningCurve"),
    ]
