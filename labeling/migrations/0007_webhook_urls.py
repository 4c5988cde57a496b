"""Addresses of webhooks are encrypted."""

import django.core.validators
from django.db import migrations

import slmstudio.accounts.encryption


def encrypt(apps, schema_editor):
    for hook in apps.get_model("labeling", "Webhook").objects.all():
        hook.save(update_fields=["url"])


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0006_invitations_and_groups'),
    ]

    operations = [
        migrations.AlterField(
            model_name='webhook',
            name='url',
            field=slmstudio.accounts.encryption.EncryptedField(validators=[django.core.validators.URLValidator(), django.core.validators.MaxLengthValidator(500)]),
        ),
        migrations.RunPython(encrypt, migrations.RunPython.noop),
    ]
