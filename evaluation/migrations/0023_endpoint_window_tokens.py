from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluation', '0022_windows_of_outputs'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='window_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='a longer document is read in windows of this size; empty: never', null=True),
        ),
    ]
