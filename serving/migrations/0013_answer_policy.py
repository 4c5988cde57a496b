"""Answer policies, calibrations, and what the request log has of them."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
ALTER TABLE serving_requestlog
    ADD COLUMN calibrated jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN lowest double precision,
    ADD COLUMN needs_review boolean NOT NULL DEFAULT false,
    ADD COLUMN review_reason varchar(20) NOT NULL DEFAULT '',
    ADD COLUMN automatic boolean NOT NULL DEFAULT false,
    ADD COLUMN audit_probability double precision,
    ADD COLUMN audited boolean NOT NULL DEFAULT false,
    ADD COLUMN fallback_reason varchar(20) NOT NULL DEFAULT '',
    ADD COLUMN fallback_endpoint_id bigint,
    ADD COLUMN fallback_ms double precision NOT NULL DEFAULT 0,
    ADD COLUMN fallback_code varchar(40) NOT NULL DEFAULT '',
    ADD COLUMN fallback_prompt_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN fallback_output_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN cost double precision,
    ADD COLUMN first_output text NOT NULL DEFAULT '';
CREATE INDEX request_audited ON serving_requestlog (project_id, created_at) WHERE audited;
CREATE INDEX request_to_review ON serving_requestlog (project_id, created_at) WHERE needs_review;
DROP INDEX request_failed;
CREATE INDEX request_failed ON serving_requestlog (project_id, key_sha256) WHERE status <> 200 OR fallback_reason <> '';
"""
BACKWARD = """
DROP INDEX request_failed;
CREATE INDEX request_failed ON serving_requestlog (project_id, key_sha256) WHERE status <> 200;
DROP INDEX request_to_review;
DROP INDEX request_audited;
ALTER TABLE serving_requestlog
    DROP COLUMN calibrated, DROP COLUMN lowest, DROP COLUMN needs_review, DROP COLUMN review_reason,
    DROP COLUMN automatic, DROP COLUMN audit_probability, DROP COLUMN audited, DROP COLUMN fallback_reason,
    DROP COLUMN fallback_endpoint_id, DROP COLUMN fallback_ms, DROP COLUMN fallback_code,
    DROP COLUMN fallback_prompt_tokens, DROP COLUMN fallback_output_tokens, DROP COLUMN cost, DROP COLUMN first_output;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('evaluation', '0001_squashed_0013_labels_of_benchmarks'),
        ('serving', '0012_traffic_marks'),
    ]

    operations = [
        migrations.AlterField(
            model_name='deploymentevent',
            name='kind',
            field=models.CharField(choices=[('deployed', 'deployed'), ('promoted', 'promoted'), ('aborted', 'aborted'), ('rolled_back', 'rolled back'), ('stopped', 'stopped'), ('policy', 'answer policy changed'), ('broken', 'error budget exceeded'), ('resumed', 'error budget resumed')], max_length=12),
        ),
        migrations.CreateModel(
            name='AnswerPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('on_invalid', models.BooleanField(default=True, help_text='no output that matches the schema')),
                ('on_invariant', models.BooleanField(default=True, help_text='the output violates an invariant of the contract')),
                ('on_unavailable', models.BooleanField(default=True, help_text='the small model does not answer')),
                ('min_confidence', models.FloatField(blank=True, help_text='of every field, for an answer of the small model', null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)])),
                ('field_confidence', models.JSONField(blank=True, default=dict, help_text='field pattern -> its own minimum')),
                ('budget_wrong', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('budget_of', models.PositiveIntegerField(default=200, validators=[django.core.validators.MinValueValidator(2)])),
                ('budget_unit', models.CharField(choices=[('field', 'fields'), ('document', 'documents')], default='field', max_length=10)),
                ('basis', models.CharField(choices=[('proven', 'proven with 95 % confidence'), ('expected', 'expected by the calibration')], default='proven', max_length=10)),
                ('rest', models.CharField(choices=[('people', 'people'), ('fallback', 'the larger model')], default='people', max_length=10)),
                ('audit_share', models.FloatField(default=0.05, help_text='of the automatic answers that people check', validators=[django.core.validators.MinValueValidator(0.001), django.core.validators.MaxValueValidator(1)])),
                ('audit_since', models.DateTimeField(blank=True, help_text='requests from then on count', null=True)),
                ('broken_at', models.DateTimeField(blank=True, null=True)),
                ('broken_reason', models.TextField(blank=True, help_text='as a sentence')),
                ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='policy', to='serving.deployment')),
                ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.endpoint')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('budget_wrong__isnull', True), ('budget_wrong__lt', models.F('budget_of')), _connector='OR'), name='policy_budget_is_a_share')],
            },
        ),
        migrations.CreateModel(
            name='PackageCalibration',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('variant', models.CharField(blank=True, help_text='engine and quantization; empty: the first', max_length=40)),
                ('split', models.CharField(help_text='of the dataset, whose documents were answered', max_length=10)),
                ('is_evaluated', models.BooleanField(default=False, help_text='whether the evaluation was on the same documents, for want of others')),
                ('documents', models.PositiveIntegerField()),
                ('fits', models.JSONField(default=dict, help_text='see serving.confidence.calibration.Calibration')),
                ('summary', models.JSONField(default=dict, help_text='see serving.confidence.report')),
                ('records', models.JSONField(default=list, help_text='see serving.confidence.records.DocumentRecord')),
                ('sha256', models.CharField(help_text='of its file in the folder evidence of the package', max_length=64)),
                ('package', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='calibrations', to='serving.package')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('package', 'variant'), name='calibration_once')],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
