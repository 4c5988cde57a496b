"""``ModelPull`` becomes ``ModelDownload``, with its rows and permissions; keys of estimates are called like their fields."""

import django.db.models.deletion
from django.db import migrations, models


def rename_permissions(apps, schema_editor):
    permissions = apps.get_model("auth", "Permission").objects
    for permission in permissions.filter(content_type__app_label="training", codename__endswith="_modelpull"):
        permission.codename = permission.codename.replace("_modelpull", "_modeldownload")
        permission.name = permission.name.replace("model pull", "model download")
        permission.save()


ESTIMATE_KEYS = {"binding": "largest_part", "refusals": "problems", "turn": "suggestions"}


def rename_estimate_keys(apps, schema_editor):
    runs = apps.get_model("training", "TrainingRun").objects.filter(estimate__has_any_keys=list(ESTIMATE_KEYS))
    for run in runs.only("estimate").iterator():
        run.estimate = {ESTIMATE_KEYS.get(key, key): value for key, value in run.estimate.items()}
        run.save(update_fields=["estimate"])


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("training", "0003_studies"),
    ]

    operations = [
        migrations.RenameModel("ModelPull", "ModelDownload"),
        migrations.AlterField(
            model_name="modeldownload",
            name="base_model",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="download", to="training.basemodel"
            ),
        ),
        migrations.RunPython(rename_permissions, migrations.RunPython.noop),
        migrations.RunPython(rename_estimate_keys, migrations.RunPython.noop),
    ]
