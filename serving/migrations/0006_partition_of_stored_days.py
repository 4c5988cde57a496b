"""A day whose first requests went to the default partition gets its own partition, and they move there."""

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION serving_ensure_partition(wanted date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := 'serving_requestlog_' || to_char(wanted, 'YYYYMMDD');
BEGIN
    IF wanted IS NULL OR to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('serving_requestlog'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Attaching would fail for rows that the default partition has of the day.
    LOCK TABLE serving_requestlog_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE serving_requestlog INCLUDING ALL)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM serving_requestlog_default WHERE day = %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', wanted, name);
    EXECUTE format(
        'ALTER TABLE serving_requestlog ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, wanted, wanted + 1);
END $$;
"""


class Migration(migrations.Migration):
    """SQL that Django's operations do not express."""

    dependencies = [("serving", "0005_package_variants")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
