"""A/B tests, certificates and replays become comparisons. Certificates keep their numbers, content and hash; A/B tests
and replays get the numbers after them."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

MOVE = """
INSERT INTO serving_trafficcomparison (
    project_id, number, kind, a_id, b_id, plan, result, verdict, decided_at, content, sha256, issued_at, facts,
    status, job_id, progress_done, progress_total, stage, error, cancel_requested, created_by_id, created_at,
    started_at, finished_at)
SELECT project_id, number, 'shadow', stable_id, candidate_id,
    jsonb_build_object('attempt', attempt, 'measure', measure, 'method', method, 'margin', margin, 'alpha', alpha,
        'family', family, 'documents', wanted),
    '{}', outcome, issued_at, content, sha256, issued_at, '{}',
    CASE WHEN outcome = '' THEN 'running' ELSE 'done' END, gen_random_uuid(), 0, 0, '', '', false, created_by_id,
    created_at, created_at, issued_at
FROM serving_certificate;

INSERT INTO serving_trafficcomparison (
    project_id, number, kind, a_id, b_id, plan, result, verdict, decided_at, content, sha256, facts,
    status, job_id, progress_done, progress_total, stage, error, cancel_requested, created_by_id, created_at,
    started_at, heartbeat_at, finished_at)
SELECT project_id,
    row_number() OVER (PARTITION BY project_id ORDER BY created_at, kind, old) + coalesce(
        (SELECT max(number) FROM serving_certificate c WHERE c.project_id = other.project_id), 0),
    kind, a_id, b_id, plan, result, verdict, decided_at, '{}', '', facts, status, job_id, progress_done, progress_total,
    stage, error, cancel_requested, created_by_id, created_at, started_at, heartbeat_at, finished_at
FROM (
    SELECT d.project_id, 'split' AS kind, e.id AS old, e.a_id, e.b_id,
        jsonb_build_object('question', e.question, 'share', e.share, 'limit_ms', e.limit_ms) AS plan,
        jsonb_build_object('counts', e.counts, 'log_e', e.log_e) AS result, e.verdict, e.decided_at,
        '{}'::jsonb AS facts, CASE WHEN e.ended_at IS NULL THEN 'running' ELSE 'done' END AS status,
        gen_random_uuid() AS job_id, 0 AS progress_done, 0 AS progress_total, '' AS stage, '' AS error,
        false AS cancel_requested, e.created_by_id, e.started_at AS created_at, e.started_at,
        NULL::timestamptz AS heartbeat_at, e.ended_at AS finished_at
    FROM serving_experiment e JOIN serving_deployment d ON d.id = e.deployment_id
    UNION ALL
    SELECT r.project_id, 'replay', r.id, r.stable_id, r.candidate_id, jsonb_build_object('limit', r.facts -> 'limit'),
        jsonb_build_object('failed', r.failed, 'skipped', r.skipped), '', NULL, r.facts - 'limit', r.status,
        -- a job in the queue names the former row, so the reaper queues another one
        CASE WHEN r.status = 'queued' THEN gen_random_uuid() ELSE r.job_id END, r.progress_done, r.progress_total,
        r.stage, r.error, r.cancel_requested, r.created_by_id, r.created_at, r.started_at, r.heartbeat_at, r.finished_at
    FROM serving_replay r
) other;

INSERT INTO serving_comparisonpair (
    comparison_id, document_id, request_id, shadow_id, family, replayed, stable_output, candidate_output, stable_ms,
    candidate_ms, stable_tokens, candidate_model_ms)
SELECT n.id, p.document_id, p.request_id, p.shadow_id, p.family, p.replayed, p.stable_output, p.candidate_output,
    p.stable_ms, p.candidate_ms, p.stable_tokens, p.candidate_model_ms
FROM serving_certificatepair p
JOIN serving_certificate c ON c.id = p.certificate_id
JOIN serving_trafficcomparison n ON n.project_id = c.project_id AND n.number = c.number;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("serving", "0002_rollout_words"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TrafficComparison',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('status', models.CharField(choices=[('queued', 'queued'), ('running', 'running'), ('done', 'done'), ('failed', 'failed'), ('cancelled', 'cancelled')], db_index=True, default='queued', max_length=10)),
                ('job_id', models.UUIDField(default=uuid.uuid4, editable=False)),
                ('progress_done', models.PositiveIntegerField(default=0)),
                ('progress_total', models.PositiveIntegerField(default=0)),
                ('stage', models.CharField(blank=True, help_text='what it is doing now, in words', max_length=120)),
                ('error', models.TextField(blank=True, help_text='why it failed, as a sentence')),
                ('cancel_requested', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('number', models.PositiveIntegerField()),
                ('kind', models.CharField(choices=[('split', 'Live split'), ('shadow', 'Labeled documents'), ('replay', 'Replayed requests')], max_length=10)),
                ('plan', models.JSONField(blank=True, default=dict)),
                ('result', models.JSONField(blank=True, default=dict)),
                ('verdict', models.CharField(blank=True, choices=[('', 'Not shown yet'), ('a', 'A is better'), ('b', 'B is better'), ('certified', 'Non-inferior'), ('not_shown', 'Not shown')], max_length=10)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('content', models.JSONField(blank=True, default=dict, help_text='of the certificate')),
                ('sha256', models.CharField(blank=True, help_text="of the certificate's content", max_length=64)),
                ('issued_at', models.DateTimeField(blank=True, null=True)),
                ('facts', models.JSONField(blank=True, default=dict)),
                ('a', models.ForeignKey(help_text='the stable version', on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release')),
                ('b', models.ForeignKey(help_text='the candidate', on_delete=django.db.models.deletion.PROTECT, related_name='traffic_comparisons', to='serving.release')),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='traffic_comparisons', to='labeling.project')),
            ],
        ),
        migrations.CreateModel(
            name='ComparisonPair',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.UUIDField()),
                ('shadow_id', models.UUIDField()),
                ('family', models.CharField(blank=True, max_length=200)),
                ('replayed', models.BooleanField(default=False, help_text='whether the candidate answered a replay')),
                ('stable_output', models.TextField(blank=True)),
                ('candidate_output', models.TextField(blank=True)),
                ('stable_ms', models.FloatField()),
                ('candidate_ms', models.FloatField()),
                ('stable_tokens', models.JSONField(default=list, help_text='[prompt, output]')),
                ('candidate_model_ms', models.FloatField(default=0)),
                ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.document')),
                ('comparison', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pairs', to='serving.trafficcomparison')),
            ],
        ),
        migrations.AddConstraint(
            model_name='trafficcomparison',
            constraint=models.UniqueConstraint(fields=('project', 'number'), name='comparison_number_once'),
        ),
        migrations.AddConstraint(
            model_name='trafficcomparison',
            constraint=models.UniqueConstraint(condition=models.Q(('kind__in', ('split', 'replay')), ('status__in', ('queued', 'running'))), fields=('project', 'kind'), name='comparison_live_once'),
        ),
        migrations.AddConstraint(
            model_name='comparisonpair',
            constraint=models.UniqueConstraint(fields=('comparison', 'document'), name='comparison_pair_once'),
        ),
        migrations.RunSQL(MOVE),
        # Rows that were just written have pending checks of their keys.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL IMMEDIATE"),
        migrations.DeleteModel(name="CertificatePair"),
        migrations.DeleteModel(name="Certificate"),
        migrations.DeleteModel(name="Experiment"),
        migrations.DeleteModel(name="Replay"),
    ]
