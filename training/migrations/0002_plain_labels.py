"""Labels of choices in sentence case, and help texts in plain words."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0001_schema'),
    ]

    operations = [
        migrations.AlterField(
            model_name='basemodel',
            name='source',
            field=models.CharField(choices=[('packaged', 'Packaged'), ('folder', 'Local folder'), ('hub', 'Hub')], max_length=10),
        ),
        migrations.AlterField(
            model_name='lengthreport',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='lengthreport',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='modelexport',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='modelexport',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='modelpull',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='modelpull',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='checkpoint',
            field=models.CharField(blank=True, choices=[('best', 'Best'), ('last', 'Last')], help_text='of a run that kept two; empty: the only one', max_length=4),
        ),
        migrations.AlterField(
            model_name='search',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='search',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='specexport',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='specexport',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='trial',
            name='state',
            field=models.CharField(choices=[('running', 'Running'), ('complete', 'Complete'), ('pruned', 'Pruned'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='running', max_length=10),
        ),
    ]
