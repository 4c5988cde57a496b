"""Rollouts: a verdict is called "promote", and a step has a checkpoint."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("serving", "0001_schema")]

    operations = [
        migrations.RunSQL(
            """
            UPDATE serving_rollout SET steps = replace(steps::text, '"look":', '"checkpoint":')::jsonb;
            UPDATE serving_rollout SET verdict = 'promote' WHERE verdict = 'go_on';
            """,
            """
            UPDATE serving_rollout SET steps = replace(steps::text, '"checkpoint":', '"look":')::jsonb;
            UPDATE serving_rollout SET verdict = 'go_on' WHERE verdict = 'promote';
            """,
        )
    ]
