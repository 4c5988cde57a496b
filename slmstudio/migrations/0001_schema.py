"""The table of sign-ins; see the migration of labeling for what it replaces."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from slmstudio.database.operations import CreateModels

FREEZE = """
CREATE FUNCTION slmstudio_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the list of sign-ins only grows: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER slmstudio_signinevent_frozen BEFORE UPDATE OR DELETE ON slmstudio_signinevent
FOR EACH ROW EXECUTE FUNCTION slmstudio_refuse_change();
"""


class Migration(migrations.Migration):

    replaces = [
        ('slmstudio', '0001_sign_in_events'),
        ('slmstudio', '0002_sign_in_events_only_grow'),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='SignInEvent',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('kind', models.CharField(choices=[('signed in', 'signed in'), ('failed to sign in', 'failed to sign in'), ('signed out', 'signed out'), ('locked out', 'locked out')], max_length=20)),
                    ('name', models.CharField(max_length=150)),
                    ('address', models.CharField(blank=True, max_length=45)),
                    ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                    ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
            ),
        ]),
        migrations.RunSQL(FREEZE, "DROP FUNCTION slmstudio_refuse_change() CASCADE;"),
    ]
