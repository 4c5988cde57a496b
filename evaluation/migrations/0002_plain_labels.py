"""Labels of choices in sentence case, and help texts in plain words."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evaluation', '0001_schema'),
    ]

    operations = [
        migrations.AlterField(
            model_name='approval',
            name='decision',
            field=models.CharField(choices=[('approved', 'Approved'), ('rejected', 'Rejected')], max_length=10),
        ),
        migrations.AlterField(
            model_name='benchmark',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='benchmark',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='endpoint',
            name='reasoning_effort',
            field=models.CharField(blank=True, choices=[('none', 'None'), ('minimal', 'Minimal'), ('low', 'Low'), ('medium', 'Medium'), ('high', 'High'), ('xhigh', 'Extra high')], default='', max_length=10),
        ),
        migrations.AlterField(
            model_name='endpoint',
            name='structured',
            field=models.CharField(choices=[('auto', 'Automatic'), ('json_schema', 'JSON Schema'), ('json_object', 'Any JSON object'), ('free', 'Prompt only')], default='auto', max_length=12),
        ),
        migrations.AlterField(
            model_name='evalrun',
            name='mode',
            field=models.CharField(choices=[('constrained', 'Constrained'), ('grounded', 'Grounded'), ('free', 'Unconstrained')], default='constrained', max_length=12),
        ),
        migrations.AlterField(
            model_name='evalrun',
            name='split',
            field=models.CharField(choices=[('train', 'Train'), ('validation', 'Validation'), ('holdout', 'Hold-out'), ('benchmark', 'benchmark')], default='validation', max_length=10),
        ),
        migrations.AlterField(
            model_name='evalrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='evalrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='goldquestion',
            name='answer',
            field=models.CharField(choices=[('open', 'Open'), ('corrected', 'Upheld'), ('confirmed', 'Rejected')], default='open', max_length=10),
        ),
        migrations.AlterField(
            model_name='labelcheckrun',
            name='source',
            field=models.CharField(choices=[('classifier', 'Out-of-fold classifier'), ('predictions', 'Pre-labels'), ('evaluation', 'Evaluation on validation')], max_length=12),
        ),
        migrations.AlterField(
            model_name='labelcheckrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='labelcheckrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='learningcurve',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='learningcurve',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='looprun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='looprun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='policyproposal',
            name='state',
            field=models.CharField(choices=[('open', 'Open'), ('taken', 'Accepted'), ('declined', 'Declined'), ('withdrawn', 'Withdrawn')], default='open', max_length=10),
        ),
        migrations.AlterField(
            model_name='prelabelrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='prelabelrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='promptsearch',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='promptsearch',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='resourcemeasurement',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='resourcemeasurement',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
    ]
