"""Erased documents, and the reports of erasures."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# As in 0001, but the revisions of an erased document may be emptied.
FREEZE = """
CREATE OR REPLACE FUNCTION labeling_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ignored text[] := ARRAY['created_by_id'];
BEGIN
    IF TG_TABLE_NAME = 'labeling_annotationrevision' AND to_jsonb(NEW) ->> 'value' = '{}' AND to_jsonb(NEW) ->> 'evidence' = '{}' AND EXISTS (
            SELECT FROM labeling_annotation JOIN labeling_document ON labeling_document.id = document_id
            WHERE labeling_annotation.id = (to_jsonb(NEW) ->> 'annotation_id')::bigint AND erased_at IS NOT NULL
        )
    THEN
        ignored := ARRAY['created_by_id', 'value', 'evidence'];
    END IF;
    IF (to_jsonb(NEW) - ignored)::text IS DISTINCT FROM (to_jsonb(OLD) - ignored)::text THEN
        RAISE EXCEPTION 'rows of % are frozen and cannot be changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""
FREEZE_BEFORE = """
CREATE OR REPLACE FUNCTION labeling_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - 'created_by_id')::text IS DISTINCT FROM (to_jsonb(OLD) - 'created_by_id')::text THEN
        RAISE EXCEPTION 'rows of % are frozen and cannot be changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0007_webhook_urls"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="document",
            name="erased_at",
            field=models.DateTimeField(
                blank=True, help_text="its text and labels were erased; the row is one of something frozen", null=True
            ),
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sha256", models.CharField(help_text="see labeling.documents.erasure.text_sha256", max_length=64)),
                ("counts", models.JSONField(default=dict)),
                ("kept", models.JSONField(blank=True, default=dict)),
                ("trained", models.JSONField(blank=True, default=list)),
                ("files", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="erasures", to="labeling.project"
                    ),
                ),
            ],
        ),
        migrations.RunSQL(FREEZE, FREEZE_BEFORE),
    ]
