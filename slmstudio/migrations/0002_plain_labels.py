"""Labels of choices in sentence case, and help texts in plain words."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('slmstudio', '0001_schema'),
    ]

    operations = [
        migrations.AlterField(
            model_name='signinevent',
            name='kind',
            field=models.CharField(choices=[('signed in', 'Signed in'), ('failed to sign in', 'Failed to sign in'), ('signed out', 'Signed out'), ('locked out', 'Locked out')], max_length=20),
        ),
    ]
