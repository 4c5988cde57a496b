"""Labels of choices in sentence case, and help texts in plain words."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('serving', '0002_rollout_words'),
    ]

    operations = [
        migrations.AlterField(
            model_name='alertevent',
            name='kind',
            field=models.CharField(choices=[('firing', 'Firing'), ('resolved', 'Resolved')], max_length=8),
        ),
        migrations.AlterField(
            model_name='alertevent',
            name='mail',
            field=models.CharField(choices=[('none', 'Not sent (no recipients)'), ('waiting', 'Waiting'), ('sent', 'Sent'), ('failed', 'Failed')], default='none', max_length=8),
        ),
        migrations.AlterField(
            model_name='alertrule',
            name='min_requests',
            field=models.PositiveIntegerField(default=20, help_text='minimum number in the window for a conclusion'),
        ),
        migrations.AlterField(
            model_name='alertrule',
            name='state',
            field=models.CharField(choices=[('ok', 'OK'), ('pending', 'Pending'), ('firing', 'Firing')], default='ok', max_length=8),
        ),
        migrations.AlterField(
            model_name='answerpolicy',
            name='audit_share',
            field=models.FloatField(default=0.05, help_text='share of the automatic answers in the audit', validators=[django.core.validators.MinValueValidator(0.001), django.core.validators.MaxValueValidator(1)]),
        ),
        migrations.AlterField(
            model_name='answerpolicy',
            name='basis',
            field=models.CharField(choices=[('proven', 'Proven with 95% confidence'), ('expected', 'Expected by the calibration')], default='proven', max_length=10),
        ),
        migrations.AlterField(
            model_name='answerpolicy',
            name='budget_unit',
            field=models.CharField(choices=[('field', 'Fields'), ('document', 'Documents')], default='field', max_length=10),
        ),
        migrations.AlterField(
            model_name='answerpolicy',
            name='rest',
            field=models.CharField(choices=[('people', 'Human review'), ('fallback', 'The larger model')], default='people', max_length=10),
        ),
        migrations.AlterField(
            model_name='batchrun',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='batchrun',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='certificate',
            name='measure',
            field=models.CharField(choices=[('document', 'Document accuracy (all fields are correct)'), ('field', 'Field accuracy (share of correct fields)')], default='document', max_length=10),
        ),
        migrations.AlterField(
            model_name='certificate',
            name='method',
            field=models.CharField(choices=[('anytime', 'Any time (can be read after every label)'), ('fixed', 'Once (when all planned documents are labeled)')], default='anytime', max_length=10),
        ),
        migrations.AlterField(
            model_name='certificate',
            name='outcome',
            field=models.CharField(blank=True, choices=[('', 'Not shown yet'), ('certified', 'Non-inferior'), ('not_shown', 'Not shown')], max_length=10),
        ),
        migrations.AlterField(
            model_name='deployment',
            name='capture',
            field=models.CharField(blank=True, choices=[('token', 'With a project token'), ('own_key', 'With a project token or a registered key of the external model')], help_text='whether requests are forwarded unchanged', max_length=8),
        ),
        migrations.AlterField(
            model_name='deployment',
            name='stage',
            field=models.CharField(blank=True, choices=[('shadow', 'Shadow'), ('canary', 'Canary'), ('full', 'Full')], help_text='of the candidate', max_length=10),
        ),
        migrations.AlterField(
            model_name='deployment',
            name='sticky',
            field=models.BooleanField(default=False, help_text='whether a client always gets the same version'),
        ),
        migrations.AlterField(
            model_name='deploymentevent',
            name='kind',
            field=models.CharField(choices=[('deployed', 'Deployed'), ('promoted', 'Promoted'), ('aborted', 'Aborted'), ('rolled_back', 'Rolled back'), ('stopped', 'Stopped'), ('policy', 'Answer policy changed'), ('broken', 'Error budget exceeded'), ('resumed', 'Error budget resumed')], max_length=12),
        ),
        migrations.AlterField(
            model_name='deploymentevent',
            name='stable',
            field=models.ForeignKey(blank=True, help_text='stable version after the event', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release'),
        ),
        migrations.AlterField(
            model_name='deploymentevent',
            name='stage',
            field=models.CharField(blank=True, choices=[('shadow', 'Shadow'), ('canary', 'Canary'), ('full', 'Full')], max_length=10),
        ),
        migrations.AlterField(
            model_name='draw',
            name='probabilities',
            field=models.JSONField(default=dict, help_text='reason -> sampling probability'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='question',
            field=models.CharField(choices=[('failures', 'Failure rate'), ('latency', 'Latency'), ('accuracy', 'Accuracy by feedback')], max_length=10),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='verdict',
            field=models.CharField(blank=True, choices=[('', 'No difference shown yet'), ('a', 'A is better'), ('b', 'B is better')], max_length=1),
        ),
        migrations.AlterField(
            model_name='judgment',
            name='source',
            field=models.CharField(choices=[('caller', 'Client'), ('reviewer', 'Reviewer'), ('gold', 'Gold label')], max_length=8),
        ),
        migrations.AlterField(
            model_name='package',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='package',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='release',
            name='number',
            field=models.PositiveIntegerField(help_text='the version that clients see'),
        ),
        migrations.AlterField(
            model_name='replay',
            name='stage',
            field=models.CharField(blank=True, help_text='current step, in words', max_length=120),
        ),
        migrations.AlterField(
            model_name='replay',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='queued', max_length=10),
        ),
        migrations.AlterField(
            model_name='replica',
            name='state',
            field=models.CharField(choices=[('starting', 'Starting'), ('ready', 'Ready'), ('draining', 'Draining'), ('failed', 'Failed')], default='starting', max_length=10),
        ),
        migrations.AlterField(
            model_name='retrainingproposal',
            name='rule',
            field=models.CharField(choices=[('labels', 'New labels'), ('accuracy', 'Live accuracy')], max_length=10),
        ),
        migrations.AlterField(
            model_name='retrainingproposal',
            name='state',
            field=models.CharField(choices=[('open', 'Open'), ('started', 'Training started'), ('dismissed', 'Dismissed')], default='open', max_length=10),
        ),
        migrations.AlterField(
            model_name='reviewitem',
            name='reason',
            field=models.CharField(choices=[('feedback', 'Negative feedback'), ('failure', 'Invalid output'), ('review', 'Needs review'), ('shadow', 'Shadow disagrees'), ('fallback', 'Fallback'), ('confidence', 'Low confidence'), ('audit', 'Audit sample'), ('uniform', 'Uniform sample')], help_text='the most urgent one', max_length=10),
        ),
        migrations.AlterField(
            model_name='reviewitem',
            name='status',
            field=models.CharField(choices=[('open', 'Open'), ('sent', 'Sent to labeling'), ('right', 'Marked correct'), ('dismissed', 'Dismissed')], default='open', max_length=10),
        ),
        migrations.AlterField(
            model_name='rollout',
            name='outcome',
            field=models.CharField(blank=True, choices=[('', 'Running'), ('promoted', 'Promoted'), ('aborted', 'Aborted')], max_length=10),
        ),
        migrations.AlterField(
            model_name='sampleplan',
            name='targeted_per_day',
            field=models.PositiveIntegerField(default=50, help_text='approximate maximum of sampled requests for each other reason'),
        ),
    ]
