"""Crashes of replicas, which rollouts count."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of crashes."""

    dependencies = [("serving", "0017_agreement")]
    operations = [
        migrations.CreateModel(
            name="ReplicaCrash",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("host", models.CharField(max_length=200)),
                ("error", models.TextField(blank=True, help_text="why, as a sentence")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="crashes",
                        to="serving.release",
                    ),
                ),
            ],
            options={"indexes": [models.Index(fields=["release", "created_at"], name="replica_crashes")]},
        ),
    ]
