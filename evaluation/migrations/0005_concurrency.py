"""What is concurrent is called concurrency."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0004_column_names")]

    operations = [
        migrations.RenameField("evalrun", "at_once", "concurrency"),
        migrations.RenameField("endpoint", "at_once", "concurrency"),
    ]
