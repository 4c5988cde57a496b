"""The table of sign-ins only grows: the database itself refuses to change or delete a row."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION slmstudio_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the list of sign-ins only grows: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
"""
ROWS = """
CREATE TRIGGER slmstudio_signinevent_frozen BEFORE UPDATE OR DELETE ON slmstudio_signinevent
FOR EACH ROW EXECUTE FUNCTION slmstudio_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("slmstudio", "0001_sign_in_events")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION slmstudio_refuse_change();"),
        migrations.RunSQL(ROWS, "DROP TRIGGER slmstudio_signinevent_frozen ON slmstudio_signinevent;"),
    ]
