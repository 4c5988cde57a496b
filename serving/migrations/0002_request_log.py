"""The partitioned table of requests, and the functions that create and drop its days.

The functions run as the owner of the tables: the application's role creates no table.
"""

from django.db import migrations

FORWARD = """
CREATE TABLE serving_requestlog (
    day date NOT NULL,
    id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    project_id bigint NOT NULL,
    release_id bigint,
    token_id bigint,
    stage varchar(10) NOT NULL DEFAULT '',
    source varchar(10) NOT NULL DEFAULT '',
    shadow_of uuid,
    protocol varchar(12) NOT NULL,
    status smallint NOT NULL,
    code varchar(40) NOT NULL DEFAULT '',
    valid boolean,
    key_sha256 varchar(64) NOT NULL,
    caller varchar(80) NOT NULL DEFAULT '',
    prompt_tokens integer NOT NULL DEFAULT 0,
    output_tokens integer NOT NULL DEFAULT 0,
    total_ms double precision NOT NULL,
    queue_ms double precision NOT NULL DEFAULT 0,
    model_ms double precision NOT NULL DEFAULT 0,
    confidence jsonb NOT NULL DEFAULT '{}',
    detail text NOT NULL DEFAULT '',
    "text" text NOT NULL DEFAULT '',
    output text NOT NULL DEFAULT '',
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE INDEX request_of_project ON serving_requestlog (project_id, created_at DESC);
CREATE INDEX request_of_shadow ON serving_requestlog (shadow_of) WHERE shadow_of IS NOT NULL;
CREATE TABLE serving_requestlog_default PARTITION OF serving_requestlog DEFAULT;

CREATE FUNCTION serving_ensure_partition(wanted date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := 'serving_requestlog_' || to_char(wanted, 'YYYYMMDD');
BEGIN
    IF wanted IS NULL OR to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('serving_requestlog'));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF serving_requestlog FOR VALUES FROM (%L) TO (%L)', name, wanted, wanted + 1);
    END IF;
END $$;

CREATE FUNCTION serving_drop_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
        WHERE inhparent = 'serving_requestlog'::regclass AND relname ~ '^serving_requestlog_[0-9]{8}$'
          AND to_date(right(relname, 8), 'YYYYMMDD') < before
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
"""
BACKWARD = """
DROP FUNCTION serving_drop_partitions(date);
DROP FUNCTION serving_ensure_partition(date);
DROP TABLE serving_requestlog;
"""


class Migration(migrations.Migration):
    """SQL that Django's operations do not express."""

    dependencies = [("serving", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
