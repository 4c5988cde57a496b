from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0010_pasted_schemas'),
    ]

    operations = [
        migrations.AddField(
            model_name='datasetitem',
            name='family',
            field=models.BigIntegerField(blank=True, null=True),
        ),
    ]
