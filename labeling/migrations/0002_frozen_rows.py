"""The database itself refuses to change what is frozen: schema versions, revisions, dataset versions and their items.

Only ``created_by`` may change, because deleting a person empties it. Compared as text: jsonb calls 1.5 and 1.50 equal.
"""

from django.db import migrations

FROZEN = ["labeling_schemaversion", "labeling_annotationrevision", "labeling_datasetversion", "labeling_datasetitem"]

FUNCTION = """
CREATE FUNCTION labeling_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - 'created_by_id')::text IS DISTINCT FROM (to_jsonb(OLD) - 'created_by_id')::text THEN
        RAISE EXCEPTION 'rows of % are frozen and cannot be changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""
TRIGGER = """
CREATE TRIGGER {table}_frozen BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION labeling_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0001_initial")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION labeling_refuse_change();"),
        *(
            migrations.RunSQL(TRIGGER.format(table=table), f"DROP TRIGGER {table}_frozen ON {table};")
            for table in FROZEN
        ),
    ]
