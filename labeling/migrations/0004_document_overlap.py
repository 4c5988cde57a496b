"""``Document.wanted`` is ``overlap``, also in the parameters of bulk edits."""

from typing import Any

from django.db import migrations, models


def rename_parameter(apps: Any, schema_editor: Any) -> None:
    """Edits of the overlap: their stored values have the name of the former column, so they cannot be undone."""
    for edit in apps.get_model("labeling", "BulkEdit").objects.filter(action="overlap", params__has_key="wanted"):
        params = {name: value for name, value in edit.params.items() if name not in ("wanted", "kept")}
        edit.params = {**params, "overlap": edit.params["wanted"]}
        edit.save(update_fields=["params"])


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0003_studies'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='document', name='document_overlap'),
        migrations.RenameField(model_name='document', old_name='wanted', new_name='overlap'),
        migrations.AlterField(
            model_name='document',
            name='overlap',
            field=models.PositiveSmallIntegerField(default=1, help_text='number of annotators who label it independently'),
        ),
        migrations.AddIndex(
            model_name='document',
            index=models.Index(condition=models.Q(('overlap__gt', 1)), fields=['project', 'id'], name='document_overlap'),
        ),
        migrations.RunPython(rename_parameter, migrations.RunPython.noop),
    ]
