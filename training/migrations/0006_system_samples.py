"""Samples of the system among the events of a run; no change in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0005_plain_help_texts")]

    operations = [
        migrations.AlterField(
            model_name="trainingevent",
            name="key",
            field=models.CharField(blank=True, help_text="distinguishes several events at one step", max_length=16),
        ),
        migrations.AlterField(
            model_name="trainingevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("metrics", "Metrics"),
                    ("validation", "Validation"),
                    ("samples", "Samples"),
                    ("warning", "Warning"),
                    ("checkpoint", "Checkpoint"),
                    ("system", "System"),
                ],
                max_length=10,
            ),
        ),
    ]
