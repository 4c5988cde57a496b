"""Two model versions of a run that keeps best and last; deleted weights."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0008_searches")]

    operations = [
        migrations.AlterField(
            model_name="modelversion",
            name="training_run",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="model_versions", to="training.trainingrun"
            ),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="is_alternative",
            field=models.BooleanField(default=False, help_text="the weights that the run did not choose"),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="checkpoint",
            field=models.CharField(
                blank=True,
                choices=[("best", "best"), ("last", "last")],
                help_text="of a run that kept two; empty: the only one",
                max_length=4,
            ),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="step",
            field=models.PositiveIntegerField(blank=True, help_text="of its weights; null: not recorded", null=True),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="weights_deleted_at",
            field=models.DateTimeField(blank=True, help_text="its files are deleted since", null=True),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(fields=("training_run", "is_alternative"), name="model_once_per_run"),
        ),
    ]
