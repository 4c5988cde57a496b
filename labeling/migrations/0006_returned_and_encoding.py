"""Why documents are back in the queue, the encoding of imports, and gold under the newest version for each
label that is valid there.
"""

from typing import Any

from django.db import migrations, models

from slmstudio.contract.schema import compile_schema, loads

BATCH = 500


def carry_gold(apps: Any, schema_editor: Any) -> None:
    """Gold of earlier schema versions that is valid under the newest one becomes gold under that version too."""
    Project, Gold = apps.get_model("labeling", "Project"), apps.get_model("labeling", "Gold")
    Version = apps.get_model("labeling", "SchemaVersion")
    for project in Project.objects.order_by("pk"):
        newest = Version.objects.filter(project=project).order_by("-number").first()
        if newest is None or newest.number == 1:
            continue
        compiled = compile_schema(loads(newest.schema_text))
        golds = Gold.objects.filter(document__project=project).select_related("revision")
        golds = golds.order_by("document_id", "-schema_version__number").distinct("document_id")
        rows: list[Any] = []
        for gold in golds.iterator(chunk_size=BATCH):
            if gold.schema_version_id == newest.pk or compiled.validate(gold.revision.value):
                continue
            names = ("document_id", "revision_id", "origin", "approved_by_id", "created_at")
            rows.append(Gold(schema_version=newest, **{name: getattr(gold, name) for name in names}))
            if len(rows) == BATCH:
                Gold.objects.bulk_create(rows)
                rows = []
        Gold.objects.bulk_create(rows)


class Migration(migrations.Migration):
    dependencies = [("labeling", "0005_presence")]

    operations = [
        migrations.AddField(
            model_name="document",
            name="returned",
            field=models.JSONField(
                blank=True,
                null=True,
                help_text="set while a schema change keeps it in the queue: number of the schema version, reason, and "
                "the state and disputed from before",
            ),
        ),
        migrations.AddField(
            model_name="importrun",
            name="encoding",
            field=models.CharField(
                blank=True,
                max_length=120,
                help_text="of text, as it was recognized or chosen; of several, by comma",
            ),
            preserve_default=False,
        ),
        migrations.RunPython(carry_gold, migrations.RunPython.noop),
    ]
