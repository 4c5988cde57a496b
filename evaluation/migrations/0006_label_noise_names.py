"""The figures of label noise that re-scored evaluations store are called what the pages call them."""

from django.db import migrations

NAMES = {"mended": "resolved", "spoiled": "introduced"}


def renamed(figures):
    return {NAMES.get(name, name): value for name, value in figures.items()}


def rename(apps, schema_editor):
    runs = apps.get_model("evaluation", "EvalRun").objects.filter(facts__rescored__noise__has_key="mended")
    for run in runs.only("facts").iterator():
        noise = run.facts["rescored"]["noise"]
        fields = [renamed(row) for row in noise.get("fields", [])]
        run.facts["rescored"]["noise"] = {**renamed(noise), "fields": fields}
        run.save(update_fields=["facts"])


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0005_concurrency")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
