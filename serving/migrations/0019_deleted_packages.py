"""Packages whose files were deleted, as nothing needs them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """When that was."""

    dependencies = [("serving", "0018_replica_crashes")]
    operations = [
        migrations.AddField(
            "package",
            "deleted_at",
            models.DateTimeField(blank=True, help_text="when its files were deleted", null=True),
        ),
    ]
