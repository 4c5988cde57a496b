"""Since when a member has a role, and who gave it. Of the members there are this is not known."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0003_work_and_predictions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="role_since",
            field=models.DateTimeField(null=True, help_text="since when this role; empty: before this was recorded"),
        ),
        migrations.AlterField(
            model_name="membership",
            name="role_since",
            field=models.DateTimeField(
                default=django.utils.timezone.now,
                help_text="since when this role; empty: before this was recorded",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="role_given_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
    ]
