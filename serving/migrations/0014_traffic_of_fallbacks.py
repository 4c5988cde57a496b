"""Cost and latency of larger models in the figures of the request log."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Two columns; what is counted from now on fills them."""

    dependencies = [("serving", "0013_answer_policy")]
    operations = [
        migrations.AddField(
            model_name="traffic",
            name="fallback",
            field=models.JSONField(blank=True, default=dict, help_text="of requests for which it was asked"),
        ),
        migrations.AddField(
            model_name="traffic",
            name="fallback_cost",
            field=models.FloatField(default=0, help_text="of the larger model, in the currency of the contract"),
        ),
    ]
