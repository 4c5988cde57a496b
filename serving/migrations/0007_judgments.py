"""Judgments of requests, and an index that finds a request by its id alone."""

import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of judgments."""

    dependencies = [
        ("labeling", "0008_field_texts"),
        ("serving", "0006_partition_of_stored_days"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Judgment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("request_id", models.UUIDField()),
                ("day", models.DateField(help_text="of the request in UTC")),
                ("requested_at", models.DateTimeField(help_text="when the request began")),
                (
                    "source",
                    models.CharField(
                        choices=[("caller", "caller"), ("reviewer", "reviewer"), ("gold", "gold label")], max_length=8
                    ),
                ),
                ("right", models.BooleanField(help_text="whether all fields are right")),
                (
                    "fields",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="path in the output -> right; empty where the output is no longer stored",
                    ),
                ),
                ("correct_fields", models.PositiveIntegerField(default=0, help_text="of counted_fields")),
                (
                    "counted_fields",
                    models.PositiveIntegerField(default=0, help_text="fields that the output or the correction has"),
                ),
                (
                    "correction",
                    models.TextField(
                        blank=True, help_text="the corrected object, with all digits; erased with the request"
                    ),
                ),
                ("token_id", models.BigIntegerField(blank=True, help_text="the token of a caller", null=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now
                    ),
                ),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="judgments",
                        to="labeling.project",
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="judgments",
                        to="serving.release",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        help_text="who reviewed or labeled",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["project", "day"], name="judgment_day")],
                "constraints": [models.UniqueConstraint(fields=("request_id", "source"), name="judgment_once")],
            },
        ),
        migrations.RunSQL("CREATE INDEX request_by_id ON serving_requestlog (id)", "DROP INDEX request_by_id"),
    ]
