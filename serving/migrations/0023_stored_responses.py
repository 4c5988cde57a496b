"""The response to a request with an idempotency key, so that it is erased with the request."""

from django.db import migrations


class Migration(migrations.Migration):
    """The log's table in SQL, as it is partitioned."""

    dependencies = [("serving", "0022_answer_policy_basis_label")]
    operations = [
        migrations.RunSQL(
            "ALTER TABLE serving_requestlog ADD COLUMN response text NOT NULL DEFAULT ''",
            "ALTER TABLE serving_requestlog DROP COLUMN response",
        )
    ]
