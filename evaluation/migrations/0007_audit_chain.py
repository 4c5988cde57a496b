"""The audit log as a chain: each entry has its place, the hash of the entry before it, and a hash of itself.

Computed by the database, under the lock of the project's row, so that two entries at once follow each other. See
``evaluation.audit.hash_chain`` for what is hashed.
"""

from django.db import migrations, models

CONTENT = """
CREATE FUNCTION evaluation_audit_content(entry evaluation_auditentry) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'project', entry.project_id, 'position', entry.position, 'user', entry.user_id, 'action', entry.action,
        'about', entry.about, 'details', entry.details,
        'at', to_char(entry.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )::text
$$;
CREATE FUNCTION evaluation_audit_hash(entry evaluation_auditentry) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(
        sha256(convert_to(entry.previous_sha256 || E'\\n' || evaluation_audit_content(entry), 'UTF8')), 'hex'
    )
$$;
"""
FILL = """
ALTER TABLE evaluation_auditentry DISABLE TRIGGER evaluation_auditentry_frozen;
DO $$
DECLARE
    entry evaluation_auditentry;
    project bigint := -1;
    place integer;
    before text;
BEGIN
    FOR entry IN SELECT * FROM evaluation_auditentry ORDER BY project_id, id LOOP
        IF entry.project_id <> project THEN
            project := entry.project_id; place := 0; before := '';
        END IF;
        place := place + 1;
        entry.position := place; entry.previous_sha256 := before;
        before := evaluation_audit_hash(entry);
        UPDATE evaluation_auditentry SET position = place, previous_sha256 = entry.previous_sha256, sha256 = before
        WHERE id = entry.id;
    END LOOP;
END $$;
ALTER TABLE evaluation_auditentry ENABLE TRIGGER evaluation_auditentry_frozen;
"""
CHAIN = """
CREATE FUNCTION evaluation_chain_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    PERFORM 1 FROM labeling_project WHERE id = NEW.project_id FOR NO KEY UPDATE;
    SELECT position, sha256 INTO last FROM evaluation_auditentry
    WHERE project_id = NEW.project_id ORDER BY position DESC LIMIT 1;
    NEW.position := coalesce(last.position, 0) + 1;
    NEW.previous_sha256 := coalesce(last.sha256, '');
    NEW.sha256 := evaluation_audit_hash(NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER evaluation_auditentry_chain BEFORE INSERT ON evaluation_auditentry
FOR EACH ROW EXECUTE FUNCTION evaluation_chain_audit_entry();
"""
UNCHAIN = """
DROP TRIGGER evaluation_auditentry_chain ON evaluation_auditentry;
DROP FUNCTION evaluation_chain_audit_entry();
"""
FORGET = """
DROP FUNCTION evaluation_audit_hash(evaluation_auditentry);
DROP FUNCTION evaluation_audit_content(evaluation_auditentry);
"""
HASH = {"max_length": 64, "default": "", "blank": True, "editable": False}


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0006_policy_proposals")]

    operations = [
        migrations.AddField("auditentry", "position", models.PositiveIntegerField(default=0, editable=False)),
        migrations.AddField("auditentry", "previous_sha256", models.CharField(**HASH)),
        migrations.AddField("auditentry", "sha256", models.CharField(**HASH)),
        migrations.RunSQL(CONTENT, FORGET),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "auditentry",
            models.UniqueConstraint(fields=["project", "position"], name="audit_position_once"),
        ),
        migrations.RunSQL(CHAIN, UNCHAIN),
    ]
