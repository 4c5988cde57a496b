"""Why documents are back in the queue, and the encoding of imports."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0005_presence")]

    operations = [
        migrations.AddField(
            model_name="document",
            name="returned",
            field=models.JSONField(
                blank=True,
                null=True,
                help_text="set while a schema change keeps it in the queue: number of the schema version, reason, and "
                "the state and disputed from before",
            ),
        ),
        migrations.AddField(
            model_name="importrun",
            name="encoding",
            field=models.CharField(
                blank=True,
                max_length=120,
                help_text="of text, as it was recognized or chosen; of several, by comma",
            ),
            preserve_default=False,
        ),
    ]
