from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluation', '0021_learning_curves'),
    ]

    operations = [
        migrations.AddField(
            model_name='evaloutput',
            name='windows',
            field=models.PositiveSmallIntegerField(default=1, help_text='parts in which a long document was read'),
        ),
    ]
