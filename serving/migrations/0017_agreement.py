"""How far both releases agree about a request, and the limit of a rollout's plan."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    """The log's table in SQL, as it is partitioned."""

    dependencies = [("serving", "0016_review_reasons")]
    operations = [
        migrations.RunSQL(
            "ALTER TABLE serving_requestlog ADD COLUMN agreement double precision",
            "ALTER TABLE serving_requestlog DROP COLUMN agreement",
        ),
        migrations.AddField(
            "rolloutplan",
            "max_disagreement",
            models.FloatField(
                blank=True,
                default=0.5,
                help_text="share of the documents on which fewer than half of the fields agree; empty: no limit",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0.05),
                    django.core.validators.MaxValueValidator(0.99),
                ],
            ),
        ),
    ]
