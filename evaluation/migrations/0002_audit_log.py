"""The audit log only grows: the database itself refuses to change, delete or empty it."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION evaluation_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log only grows: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
"""
ROWS = """
CREATE TRIGGER evaluation_auditentry_frozen BEFORE UPDATE OR DELETE ON evaluation_auditentry
FOR EACH ROW EXECUTE FUNCTION evaluation_refuse_audit_change();
"""
TABLE = """
CREATE TRIGGER evaluation_auditentry_kept BEFORE TRUNCATE ON evaluation_auditentry
FOR EACH STATEMENT EXECUTE FUNCTION evaluation_refuse_audit_change();
"""


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0001_initial")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION evaluation_refuse_audit_change();"),
        migrations.RunSQL(ROWS, "DROP TRIGGER evaluation_auditentry_frozen ON evaluation_auditentry;"),
        migrations.RunSQL(TABLE, "DROP TRIGGER evaluation_auditentry_kept ON evaluation_auditentry;"),
    ]
