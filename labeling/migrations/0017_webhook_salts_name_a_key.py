"""The salts of webhooks name the signing key, so that secrets stay the same when the key is replaced."""

from typing import Any

from django.conf import settings
from django.db import migrations, models

from slmstudio.accounts.secret_keys import name_of


def named(salt: str) -> str:
    """A salt with the name of the current key, if it has none."""
    return salt if ":" in salt else f"{name_of(settings.SECRET_KEY)}:{salt}"


def name_all(apps: Any, schema_editor: Any) -> None:
    """Names the key in every salt."""
    webhooks = apps.get_model("labeling", "Webhook").objects
    for webhook in webhooks.all():
        webhooks.filter(pk=webhook.pk).update(salt=named(webhook.salt))


class Migration(migrations.Migration):
    dependencies = [("labeling", "0016_own_tags_of_documents")]
    operations = [
        migrations.AlterField("webhook", "salt", models.CharField(max_length=64)),
        migrations.RunPython(name_all, migrations.RunPython.noop, elidable=True),
    ]
