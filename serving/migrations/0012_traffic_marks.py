"""The trigger that marks minutes of the request log for counting, whatever adds the rows."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION serving_mark_traffic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO serving_trafficmark (project_id, minute)
    SELECT DISTINCT project_id, date_trunc('minute', created_at) FROM added;
    RETURN NULL;
END $$;
CREATE TRIGGER serving_mark_traffic AFTER INSERT ON serving_requestlog
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION serving_mark_traffic();
INSERT INTO serving_trafficmark (project_id, minute)
SELECT DISTINCT project_id, date_trunc('minute', created_at) FROM serving_requestlog;
"""
BACKWARD = """
DROP TRIGGER serving_mark_traffic ON serving_requestlog;
DROP FUNCTION serving_mark_traffic();
"""


class Migration(migrations.Migration):
    """SQL that Django's operations do not express."""

    dependencies = [("serving", "0011_monitoring")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
