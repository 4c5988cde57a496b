"""An index of the requests whose texts are still stored: retention reads these alone."""

from django.db import migrations

FORWARD = """
CREATE INDEX request_with_content ON serving_requestlog (project_id, created_at)
WHERE NOT ("text" = '' AND output = '' AND detail = '');
CREATE INDEX request_of_caller ON serving_requestlog (project_id, caller) WHERE caller <> '';
"""
BACKWARD = "DROP INDEX request_of_caller; DROP INDEX request_with_content;"


class Migration(migrations.Migration):
    """SQL, as the table is."""

    dependencies = [("serving", "0003_rollouts")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
