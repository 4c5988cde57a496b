"""Studies, of which the orders of the queue are the first kind. Existing orders keep their keys, so places do, too."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

ORDERS = """
INSERT INTO labeling_study (
    id, project_id, kind, number, name, on_gpu, spec, trials, result, facts, status, job_id, progress_done,
    progress_total, stage, error, cancel_requested, created_by_id, created_at, started_at, heartbeat_at, finished_at
)
SELECT id, project_id, 'queue-order', row_number() OVER (PARTITION BY project_id ORDER BY id), '', false,
    jsonb_build_object('method', coalesce(nullif(method, ''), 'import'), 'control_percent', control_share * 100),
    '[]', facts || CASE WHEN facts ? 'documents'
        THEN jsonb_build_object('summary', concat(facts ->> 'documents', ' documents')) ELSE '{}' END,
    '{}', status, job_id, progress_done, progress_total, stage, error, cancel_requested, created_by_id, created_at,
    started_at, heartbeat_at, finished_at
FROM labeling_queueorderrun;
SELECT setval(pg_get_serial_sequence('labeling_study', 'id'), coalesce(max(id), 0) + 1, false) FROM labeling_study;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0002_plain_labels"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Study",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("status", models.CharField(choices=[("queued", "Queued"), ("running", "Running"), ("done", "Done"), ("failed", "Failed"), ("cancelled", "Cancelled")], db_index=True, default="queued", max_length=10)),
                ("job_id", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("progress_done", models.PositiveIntegerField(default=0)),
                ("progress_total", models.PositiveIntegerField(default=0)),
                ("stage", models.CharField(blank=True, help_text="current step, in words", max_length=120)),
                ("error", models.TextField(blank=True, help_text="why it failed, as a sentence")),
                ("cancel_requested", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("heartbeat_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("kind", models.CharField(max_length=20)),
                ("number", models.PositiveIntegerField(help_text="counted by kind")),
                ("name", models.CharField(blank=True, max_length=120)),
                ("on_gpu", models.BooleanField(default=False, help_text="its job runs on a worker of the queue gpu")),
                ("spec", models.JSONField(blank=True, default=dict)),
                ("trials", models.JSONField(blank=True, default=list)),
                ("result", models.JSONField(blank=True, default=dict)),
                ("facts", models.JSONField(blank=True, default=dict)),
                ("created_by", models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("dataset", models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="studies", to="labeling.datasetversion")),
                ("project", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="studies", to="labeling.project")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("project", "kind", "number"), name="study_number_once")
                ],
            },
        ),
        migrations.RunSQL(ORDERS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="documentplace",
            name="run",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="places", to="labeling.study"),
        ),
        migrations.AlterField(
            model_name="project",
            name="order_run",
            field=models.ForeignKey(blank=True, help_text="the computation of the order that is in effect; empty: import order", null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="labeling.study"),
        ),
        migrations.DeleteModel(name="QueueOrderRun"),
    ]
