"""Requests that are forwarded unchanged, and sticky callers."""

from django.db import migrations, models

FORWARD = """
ALTER TABLE serving_requestlog ADD COLUMN exchange text NOT NULL DEFAULT '';
DROP INDEX request_with_content;
CREATE INDEX request_with_content ON serving_requestlog (project_id, created_at)
WHERE NOT ("text" = '' AND output = '' AND exchange = '' AND detail = '');
CREATE INDEX request_captured ON serving_requestlog (project_id, created_at) WHERE protocol = 'capture';
"""
BACKWARD = """
DROP INDEX request_captured;
DROP INDEX request_with_content;
CREATE INDEX request_with_content ON serving_requestlog (project_id, created_at)
WHERE NOT ("text" = '' AND output = '' AND detail = '');
ALTER TABLE serving_requestlog DROP COLUMN exchange;
"""


class Migration(migrations.Migration):
    """The log's table in SQL, as it is partitioned."""

    dependencies = [("serving", "0008_review_queue")]
    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AddField(
            "deployment",
            "capture",
            models.CharField(
                blank=True,
                choices=[
                    ("token", "with a token of this project"),
                    ("own_key", "with a token, or with the key of the external model that the caller has today"),
                ],
                help_text="whether requests are forwarded unchanged",
                max_length=8,
                default="",
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            "deployment",
            "sticky",
            models.BooleanField(default=False, help_text="whether a caller always gets the same version"),
        ),
    ]
