"""Labels of choices in sentence case, and help texts in plain words."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0001_schema'),
    ]

    operations = [
        migrations.AlterField(
            model_name='annotation',
            name='origin',
            field=models.CharField(choices=[('human', 'Human'), ('prelabelled', 'Pre-labeled'), ('imported', 'Imported'), ('synthetic', 'Synthetic')], default='human', max_length=12),
        ),
        migrations.AlterField(
            model_name='annotationrevision',
            name='action',
            field=models.CharField(choices=[('draft', 'Draft saved'), ('submit', 'Submitted'), ('import', 'Imported'), ('approve', 'Approved'), ('adjudicate', 'Adjudicated'), ('restore', 'Restored'), ('migrate', 'Migrated to another schema')], max_length=12),
        ),
        migrations.AlterField(
            model_name='bulkedit',
            name='action',
            field=models.CharField(choices=[('assign', 'Assign'), ('tag', 'Add tags'), ('untag', 'Remove tags'), ('holdout', 'Move to the hold-out'), ('train', 'Move out of the hold-out'), ('requeue', 'Requeue'), ('overlap', 'Set overlap'), ('undo', 'Undo')], max_length=10),
        ),
        migrations.AlterField(
            model_name='bulkedit',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='bulkedit',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='datasetitem',
            name='origin',
            field=models.CharField(choices=[('human', 'Human'), ('prelabelled', 'Pre-labeled'), ('imported', 'Imported'), ('synthetic', 'Synthetic')], max_length=12),
        ),
        migrations.AlterField(
            model_name='datasetitem',
            name='split',
            field=models.CharField(choices=[('train', 'Train'), ('validation', 'Validation'), ('holdout', 'Hold-out')], max_length=10),
        ),
        migrations.AlterField(
            model_name='document',
            name='selection',
            field=models.CharField(blank=True, choices=[('', 'Not from requests'), ('uniform', 'Uniform sample of requests'), ('targeted', 'Request chosen for review')], db_default='', default='', help_text='targeted documents are never sampled into the hold-out: they do not represent the requests', max_length=8),
        ),
        migrations.AlterField(
            model_name='document',
            name='state',
            field=models.CharField(choices=[('new', 'New'), ('in_progress', 'In progress'), ('submitted', 'Submitted'), ('approved', 'Approved'), ('rejected', 'Rejected'), ('skipped', 'Skipped')], default='new', max_length=12),
        ),
        migrations.AlterField(
            model_name='freezerun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='freezerun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='gold',
            name='origin',
            field=models.CharField(choices=[('human', 'Human'), ('prelabelled', 'Pre-labeled'), ('imported', 'Imported'), ('synthetic', 'Synthetic')], max_length=12),
        ),
        migrations.AlterField(
            model_name='importrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='importrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='indexrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='indexrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='membership',
            name='role',
            field=models.CharField(choices=[('annotator', 'Annotator'), ('reviewer', 'Reviewer'), ('engineer', 'Engineer'), ('manager', 'Manager'), ('owner', 'Owner')], max_length=10),
        ),
        migrations.AlterField(
            model_name='project',
            name='order_control',
            field=models.FloatField(default=0.2, help_text='share of the random places, 0 to 1; see labeling.queue_order'),
        ),
        migrations.AlterField(
            model_name='project',
            name='queue_order',
            field=models.CharField(blank=True, choices=[('', 'Import order'), ('combined', 'Uncertain and different from each other'), ('confidence', 'Lowest confidence first'), ('disagreement', 'Disagreement of two models'), ('diversity', 'Least similar to labeled documents'), ('random', 'Random order')], default='', max_length=12),
        ),
        migrations.AlterField(
            model_name='queueorderrun',
            name='method',
            field=models.CharField(choices=[('', 'Import order'), ('combined', 'Uncertain and different from each other'), ('confidence', 'Lowest confidence first'), ('disagreement', 'Disagreement of two models'), ('diversity', 'Least similar to labeled documents'), ('random', 'Random order')], max_length=12),
        ),
        migrations.AlterField(
            model_name='queueorderrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='queueorderrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='review',
            name='decision',
            field=models.CharField(choices=[('approve', 'Approved'), ('fix', 'Fixed and approved'), ('reject', 'Rejected'), ('adjudicate', 'Adjudicated')], max_length=10),
        ),
        migrations.AlterField(
            model_name='schemamigration',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='schemamigration',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='status',
            field=models.CharField(choices=[('waiting', 'Pending'), ('delivered', 'Delivered'), ('given_up', 'Failed')], default='waiting', max_length=10),
        ),
    ]
