"""Reasons of the answer policy: what needs review, and the audit of an error budget."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Choices only."""

    dependencies = [("serving", "0015_usage_and_batches")]

    operations = [
        migrations.AlterField(
            model_name="reviewitem",
            name="reason",
            field=models.CharField(
                choices=[
                    ("feedback", "negative feedback"),
                    ("failure", "invalid output"),
                    ("review", "needs review"),
                    ("shadow", "shadow disagrees"),
                    ("fallback", "fallback"),
                    ("confidence", "low confidence"),
                    ("audit", "audit sample"),
                    ("uniform", "uniform sample"),
                ],
                help_text="the most urgent one",
                max_length=10,
            ),
        ),
    ]
