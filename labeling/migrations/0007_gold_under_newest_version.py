"""Gold under the newest schema version for each label that is valid there.

Not one transaction: validating all gold takes long, and the tables stay free meanwhile. It can be run again.
"""

from typing import Any

from django.db import migrations, transaction

from slmstudio.contract.schema.compiled import compile_schema, loads

BATCH = 500
_KEPT = ("document_id", "revision_id", "origin", "approved_by_id", "created_at")


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
        last = 0
        while batch := list(golds.filter(document_id__gt=last)[:BATCH]):
            last = batch[-1].document_id
            rows = [
                Gold(schema_version=newest, **{name: getattr(gold, name) for name in _KEPT})
                for gold in batch
                if gold.schema_version_id != newest.pk and not compiled.validate(gold.revision.value)
            ]
            with transaction.atomic():
                Gold.objects.bulk_create(rows, ignore_conflicts=True)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("labeling", "0006_returned_and_encoding")]

    operations = [migrations.RunPython(carry_gold, migrations.RunPython.noop, atomic=False)]
