"""The tables of serving; see the migration of labeling for what it replaces."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models
from slmstudio.database.operations import CreateModels

# The request log is partitioned by day, which Django does not express. The functions that create and drop partitions
# run as the owner of the tables: the application's role creates no table.
REQUEST_LOG = """
CREATE TABLE serving_requestlog (
    day date NOT NULL,
    id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    project_id bigint NOT NULL,
    release_id bigint,
    token_id bigint,
    stage varchar(10) NOT NULL DEFAULT '',
    source varchar(10) NOT NULL DEFAULT '',
    shadow_of uuid,
    protocol varchar(12) NOT NULL,
    status smallint NOT NULL,
    code varchar(40) NOT NULL DEFAULT '',
    valid boolean,
    key_sha256 varchar(64) NOT NULL,
    caller varchar(80) NOT NULL DEFAULT '',
    prompt_tokens integer NOT NULL DEFAULT 0,
    output_tokens integer NOT NULL DEFAULT 0,
    total_ms double precision NOT NULL,
    queue_ms double precision NOT NULL DEFAULT 0,
    model_ms double precision NOT NULL DEFAULT 0,
    confidence jsonb NOT NULL DEFAULT '{}',
    detail text NOT NULL DEFAULT '',
    "text" text NOT NULL DEFAULT '',
    output text NOT NULL DEFAULT '',
    exchange text NOT NULL DEFAULT '',
    calibrated jsonb NOT NULL DEFAULT '{}',
    lowest double precision,
    needs_review boolean NOT NULL DEFAULT false,
    review_reason varchar(20) NOT NULL DEFAULT '',
    automatic boolean NOT NULL DEFAULT false,
    audit_probability double precision,
    audited boolean NOT NULL DEFAULT false,
    fallback_reason varchar(20) NOT NULL DEFAULT '',
    fallback_endpoint_id bigint,
    fallback_ms double precision NOT NULL DEFAULT 0,
    fallback_code varchar(40) NOT NULL DEFAULT '',
    fallback_prompt_tokens integer NOT NULL DEFAULT 0,
    fallback_output_tokens integer NOT NULL DEFAULT 0,
    cost double precision,
    first_output text NOT NULL DEFAULT '',
    agreement double precision,
    response text NOT NULL DEFAULT '',
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE TABLE serving_requestlog_default PARTITION OF serving_requestlog DEFAULT;
CREATE INDEX request_of_project ON serving_requestlog (project_id, created_at DESC);
CREATE INDEX request_of_shadow ON serving_requestlog (shadow_of) WHERE shadow_of IS NOT NULL;
CREATE INDEX request_of_caller ON serving_requestlog (project_id, caller) WHERE caller <> '';
CREATE INDEX request_by_id ON serving_requestlog (id);
-- Retention reads the requests whose texts are stored.
CREATE INDEX request_with_content ON serving_requestlog (project_id, created_at)
WHERE NOT ("text" = '' AND output = '' AND exchange = '' AND detail = '');
CREATE INDEX request_captured ON serving_requestlog (project_id, created_at) WHERE protocol = 'capture';
CREATE INDEX request_audited ON serving_requestlog (project_id, created_at) WHERE audited;
CREATE INDEX request_to_review ON serving_requestlog (project_id, created_at) WHERE needs_review;
-- For each failure, whether the document failed before.
CREATE INDEX request_failed ON serving_requestlog (project_id, key_sha256) WHERE status <> 200 OR fallback_reason <> '';

CREATE FUNCTION serving_ensure_partition(wanted date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := 'serving_requestlog_' || to_char(wanted, 'YYYYMMDD');
BEGIN
    IF wanted IS NULL OR to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('serving_requestlog'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Attaching would fail for rows that the default partition has of the day.
    LOCK TABLE serving_requestlog_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE serving_requestlog INCLUDING ALL)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM serving_requestlog_default WHERE day = %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', wanted, name);
    EXECUTE format(
        'ALTER TABLE serving_requestlog ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, wanted, wanted + 1);
END $$;

CREATE FUNCTION serving_drop_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
        WHERE inhparent = 'serving_requestlog'::regclass AND relname ~ '^serving_requestlog_[0-9]{8}$'
          AND to_date(right(relname, 8), 'YYYYMMDD') < before
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
"""
DROP_REQUEST_LOG = """
DROP FUNCTION serving_drop_partitions(date);
DROP FUNCTION serving_ensure_partition(date);
DROP TABLE serving_requestlog;
"""

# Marks minutes of the request log for counting, whatever adds the rows.
MARKS = """
CREATE FUNCTION serving_mark_traffic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO serving_trafficmark (project_id, minute)
    SELECT DISTINCT project_id, date_trunc('minute', created_at) FROM added;
    RETURN NULL;
END $$;
CREATE TRIGGER serving_mark_traffic AFTER INSERT ON serving_requestlog
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION serving_mark_traffic();
"""


class Migration(migrations.Migration):

    replaces = [
        ('serving', '0001_initial'),
        ('serving', '0002_request_log'),
        ('serving', '0003_rollouts'),
        ('serving', '0004_request_content_index'),
        ('serving', '0005_package_variants'),
        ('serving', '0006_partition_of_stored_days'),
        ('serving', '0007_judgments'),
        ('serving', '0008_review_queue'),
        ('serving', '0009_capture'),
        ('serving', '0010_certificates'),
        ('serving', '0011_monitoring'),
        ('serving', '0012_traffic_marks'),
        ('serving', '0013_answer_policy'),
        ('serving', '0014_traffic_of_fallbacks'),
        ('serving', '0015_usage_and_batches'),
        ('serving', '0016_review_reasons'),
        ('serving', '0017_agreement'),
        ('serving', '0018_replica_crashes'),
        ('serving', '0019_deleted_packages'),
        ('serving', '0020_alter_package_engine'),
        ('serving', '0021_capture_keys'),
        ('serving', '0022_answer_policy_basis_label'),
        ('serving', '0023_stored_responses'),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('evaluation', '0001_schema'),
        ('labeling', '0001_schema'),
        ('training', '0001_schema'),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='RequestLog',
                fields=[
                    ('pk', models.CompositePrimaryKey('day', 'id', blank=True, editable=False, primary_key=True, serialize=False)),
                    ('day', models.DateField(help_text='the day of the request in UTC, by which the table is partitioned')),
                    ('id', models.UUIDField(help_text='the request id that the caller got')),
                    ('created_at', models.DateTimeField()),
                    ('project_id', models.BigIntegerField()),
                    ('token_id', models.BigIntegerField(null=True)),
                    ('stage', models.CharField(blank=True, choices=[('shadow', 'shadow'), ('canary', 'canary'), ('full', 'full')], help_text='of the candidate at the time', max_length=10)),
                    ('source', models.CharField(blank=True, choices=[('stable', 'stable'), ('candidate', 'candidate'), ('fallback', 'fallback'), ('', 'nothing')], max_length=10)),
                    ('shadow_of', models.UUIDField(help_text='the request that this one repeats in shadow', null=True)),
                    ('protocol', models.CharField(help_text='extract, batch, openai, capture or replay', max_length=12)),
                    ('status', models.PositiveSmallIntegerField(help_text='of the HTTP response; 499: the caller hung up')),
                    ('code', models.CharField(blank=True, help_text='of the error', max_length=40)),
                    ('valid', models.BooleanField(help_text='whether the output matches the schema', null=True)),
                    ('key_sha256', models.CharField(help_text='of the text, or of the idempotency key', max_length=64)),
                    ('caller', models.CharField(blank=True, help_text='whom the caller asked for, for erasure', max_length=80)),
                    ('prompt_tokens', models.PositiveIntegerField(default=0)),
                    ('output_tokens', models.PositiveIntegerField(default=0)),
                    ('total_ms', models.FloatField()),
                    ('queue_ms', models.FloatField(default=0)),
                    ('model_ms', models.FloatField(default=0)),
                    ('confidence', models.JSONField(default=dict, help_text='field -> lowest and mean token probability, and the margin of the first token if known')),
                    ('calibrated', models.JSONField(default=dict, help_text='field -> probability that it is correct; {}: not calibrated')),
                    ('lowest', models.FloatField(help_text='the lowest confidence of a field, calibrated where it can be', null=True)),
                    ('needs_review', models.BooleanField(default=False, help_text='by the answer policy, a person should check it')),
                    ('review_reason', models.CharField(blank=True, help_text='see serving.confidence.decisions.Reason; of the review', max_length=20)),
                    ('automatic', models.BooleanField(default=False, help_text='answered without a person under an error budget')),
                    ('audit_probability', models.FloatField(help_text='with which it was drawn for the audit', null=True)),
                    ('audited', models.BooleanField(default=False, help_text='whether it was drawn for the audit of the error budget')),
                    ('fallback_reason', models.CharField(blank=True, help_text='why the larger model was asked; empty: it was not', max_length=20)),
                    ('fallback_endpoint_id', models.BigIntegerField(null=True)),
                    ('fallback_ms', models.FloatField(default=0)),
                    ('fallback_code', models.CharField(blank=True, help_text='why it has no valid output', max_length=40)),
                    ('fallback_prompt_tokens', models.PositiveIntegerField(default=0)),
                    ('fallback_output_tokens', models.PositiveIntegerField(default=0)),
                    ('cost', models.FloatField(help_text='of the larger model, in the currency of the contract', null=True)),
                    ('detail', models.TextField(blank=True)),
                    ('text', models.TextField(blank=True)),
                    ('output', models.TextField(blank=True)),
                    ('agreement', models.FloatField(help_text='of a request that was answered by both releases: the share of fields on which they agree', null=True)),
                    ('exchange', models.TextField(blank=True, help_text='of a forwarded request: JSON, see serving.gateway.capture.exchange')),
                    ('response', models.TextField(blank=True, help_text='of a request with an idempotency key: for the same request sent again')),
                    ('first_output', models.TextField(blank=True, help_text='of the small model, where the larger one answered')),
                ],
                options={
                    'db_table': 'serving_requestlog',
                    'managed': False,
                },
            ),
            migrations.CreateModel(
                name='AlertRecipients',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('addresses', models.JSONField(blank=True, default=list)),
                    ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='alert_recipients', to='labeling.project')),
                ],
            ),
            migrations.CreateModel(
                name='Deployment',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('stage', models.CharField(blank=True, choices=[('shadow', 'shadow'), ('canary', 'canary'), ('full', 'full')], help_text='of the candidate', max_length=10)),
                    ('share', models.FloatField(default=0, help_text='of the requests that the candidate answers, 0 to 1')),
                    ('replicas', models.PositiveSmallIntegerField(default=1, help_text='of each release that serves')),
                    ('max_queue', models.PositiveSmallIntegerField(default=64, help_text='requests that wait for a replica')),
                    ('retention_days', models.PositiveSmallIntegerField(default=30, help_text='days that texts and outputs of requests are stored; 0: never stored')),
                    ('capture', models.CharField(blank=True, choices=[('token', 'with a token of this project'), ('own_key', 'with a token, or with a registered key of the external model')], help_text='whether requests are forwarded unchanged', max_length=8)),
                    ('sticky', models.BooleanField(default=False, help_text='whether a caller always gets the same version')),
                    ('revision', models.PositiveIntegerField(default=1)),
                    ('updated_at', models.DateTimeField(auto_now=True)),
                    ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='deployment', to='labeling.project')),
                    ('candidate', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release')),
                    ('stable', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release')),
                ],
                options={
                    'constraints': [models.CheckConstraint(condition=models.Q(('share__gte', 0), ('share__lte', 1)), name='deployment_share'), models.CheckConstraint(condition=models.Q(models.Q(('candidate__isnull', True), ('share', 0), ('stage', '')), ('candidate__isnull', False), _connector='OR'), name='deployment_stage_of_candidate')],
                },
            ),
            migrations.CreateModel(
                name='HostSample',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('host', models.CharField(max_length=200)),
                    ('minute', models.DateTimeField(default=django.utils.timezone.now)),
                    ('gpus', models.JSONField(default=list, help_text='{name, load, memory_bytes, used_bytes}; load: 0 to 1 or null')),
                    ('replicas', models.JSONField(default=list, help_text='{project, release, slot, memory_bytes}')),
                ],
                options={
                    'indexes': [models.Index(fields=['minute'], name='host_sample_age')],
                    'constraints': [models.UniqueConstraint(fields=('host', 'minute'), name='host_sample_once')],
                },
            ),
            migrations.CreateModel(
                name='Package',
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
                    ('engine', models.CharField(choices=[('llama_cpp', 'llama.cpp'), ('transformers', 'transformers'), ('vllm', 'vLLM'), ('ollama', 'Ollama'), ('sklearn', 'scikit-learn')], max_length=20)),
                    ('folder_key', models.CharField(blank=True, help_text='in the artifact store; empty until it is built', max_length=300)),
                    ('sha256', models.CharField(blank=True, help_text='of the folder', max_length=64)),
                    ('files', models.JSONField(blank=True, default=list, help_text='{path, size, sha256} of the folder')),
                    ('parity', models.JSONField(blank=True, default=dict, help_text='see serving.packages.parity')),
                    ('variants', models.JSONField(blank=True, default=list, help_text='{key, engine, kind, export, gguf, parity, problem} of each')),
                    ('deleted_at', models.DateTimeField(blank=True, help_text='when its files were deleted', null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('eval_run', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='packages', to='evaluation.evalrun')),
                    ('export', models.ForeignKey(blank=True, help_text='the GGUF file', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='packages', to='training.modelexport')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='packages', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='package_number_once')],
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
            migrations.CreateModel(
                name='Release',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField(help_text='the version that callers see')),
                    ('variant', models.CharField(blank=True, help_text='of the package; empty: the first one', max_length=40)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='releases', to='evaluation.endpoint')),
                    ('package', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='releases', to='serving.package')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='releases', to='labeling.project')),
                    ('report', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='releases', to='evaluation.gatereport')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='release_number_once'), models.UniqueConstraint(condition=models.Q(('package__isnull', False)), fields=('package', 'report', 'variant'), name='release_once', nulls_distinct=False), models.CheckConstraint(condition=models.Q(models.Q(('endpoint__isnull', True), ('package__isnull', False)), models.Q(('endpoint__isnull', False), ('package__isnull', True), ('report__isnull', True)), _connector='OR'), name='release_has_one_model')],
                },
            ),
            migrations.CreateModel(
                name='Judgment',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('request_id', models.UUIDField()),
                    ('day', models.DateField(help_text='of the request in UTC')),
                    ('requested_at', models.DateTimeField(help_text='when the request began')),
                    ('source', models.CharField(choices=[('caller', 'caller'), ('reviewer', 'reviewer'), ('gold', 'gold label')], max_length=8)),
                    ('right', models.BooleanField(help_text='whether all fields are right')),
                    ('fields', models.JSONField(blank=True, default=dict, help_text='path in the output -> right; empty where the output is no longer stored')),
                    ('correct_fields', models.PositiveIntegerField(default=0, help_text='of counted_fields')),
                    ('counted_fields', models.PositiveIntegerField(default=0, help_text='fields that the output or the correction has')),
                    ('correction', models.TextField(blank=True, help_text='the corrected object, with all digits; erased with the request')),
                    ('token_id', models.BigIntegerField(blank=True, help_text='the token of a caller', null=True)),
                    ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now)),
                    ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='judgments', to='labeling.project')),
                    ('user', models.ForeignKey(blank=True, help_text='who reviewed or labeled', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('release', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='judgments', to='serving.release')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'day'], name='judgment_day')],
                    'constraints': [models.UniqueConstraint(fields=('request_id', 'source'), name='judgment_once')],
                },
            ),
            migrations.CreateModel(
                name='Experiment',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('share', models.FloatField(help_text='of the requests that B answers')),
                    ('question', models.CharField(choices=[('failures', 'failure rate'), ('latency', 'latency'), ('accuracy', 'accuracy judged by feedback')], max_length=10)),
                    ('limit_ms', models.FloatField(blank=True, help_text="slow: longer than A's median before the start", null=True)),
                    ('counts', models.JSONField(blank=True, default=dict, help_text='see serving.experiments.verdicts.Arms')),
                    ('log_e', models.JSONField(blank=True, default=dict, help_text='a: that A is better, b: that B is')),
                    ('verdict', models.CharField(blank=True, choices=[('', 'no difference shown yet'), ('a', 'A is better'), ('b', 'B is better')], max_length=1)),
                    ('decided_at', models.DateTimeField(blank=True, null=True)),
                    ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('ended_at', models.DateTimeField(blank=True, null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('deployment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='experiments', to='serving.deployment')),
                    ('a', models.ForeignKey(help_text='the stable version', on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                    ('b', models.ForeignKey(help_text='the candidate', on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                ],
                options={
                    'indexes': [models.Index(fields=['deployment', '-id'], name='experiment_history')],
                    'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('deployment',), name='experiment_running_once')],
                },
            ),
            migrations.CreateModel(
                name='DriftCheck',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('day', models.DateField(help_text='in UTC')),
                    ('days', models.PositiveSmallIntegerField(default=1, help_text='up to this day, that requests are from')),
                    ('reference_count', models.PositiveIntegerField(default=0)),
                    ('live_count', models.PositiveIntegerField(default=0)),
                    ('findings', models.JSONField(default=list)),
                    ('changed', models.PositiveSmallIntegerField(default=0, help_text='metrics that changed')),
                    ('problem', models.CharField(blank=True, help_text='why nothing was compared, as a code', max_length=30)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='drift_checks', to='labeling.project')),
                    ('release', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='drift_checks', to='serving.release')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'day'), name='drift_check_once')],
                },
            ),
            migrations.CreateModel(
                name='DeploymentEvent',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('kind', models.CharField(choices=[('deployed', 'deployed'), ('promoted', 'promoted'), ('aborted', 'aborted'), ('rolled_back', 'rolled back'), ('stopped', 'stopped'), ('policy', 'answer policy changed'), ('broken', 'error budget exceeded'), ('resumed', 'error budget resumed')], max_length=12)),
                    ('stage', models.CharField(blank=True, choices=[('shadow', 'shadow'), ('canary', 'canary'), ('full', 'full')], max_length=10)),
                    ('share', models.FloatField(default=0)),
                    ('reason', models.TextField(blank=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deployment_events', to='labeling.project')),
                    ('user', models.ForeignKey(blank=True, help_text='empty: the application', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('release', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='serving.release')),
                    ('stable', models.ForeignKey(blank=True, help_text='afterwards', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', '-id'], name='deployment_history')],
                },
            ),
            migrations.CreateModel(
                name='Certificate',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('attempt', models.PositiveSmallIntegerField()),
                    ('measure', models.CharField(choices=[('document', 'document accuracy: every field is right'), ('field', 'field accuracy: the share of fields that are right')], default='document', max_length=10)),
                    ('method', models.CharField(choices=[('anytime', 'at any time: may be read after every label'), ('fixed', 'once: when the planned documents are labeled')], default='anytime', max_length=10)),
                    ('margin', models.FloatField(validators=[django.core.validators.MinValueValidator(0.001), django.core.validators.MaxValueValidator(0.5)])),
                    ('alpha', models.FloatField()),
                    ('family', models.CharField(blank=True, help_text='source, metadata.<key>, caller, or empty', max_length=100)),
                    ('wanted', models.PositiveIntegerField(help_text='documents that were planned')),
                    ('outcome', models.CharField(blank=True, choices=[('', 'not shown yet'), ('certified', 'non-inferior'), ('not_shown', 'not shown')], max_length=10)),
                    ('content', models.JSONField(blank=True, default=dict)),
                    ('sha256', models.CharField(blank=True, help_text='of the content', max_length=64)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('issued_at', models.DateTimeField(blank=True, null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='certificates', to='labeling.project')),
                    ('candidate', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='certificates', to='serving.release')),
                    ('stable', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='serving.release')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='certificate_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Replay',
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
                    ('failed', models.PositiveIntegerField(default=0)),
                    ('skipped', models.PositiveIntegerField(default=0)),
                    ('facts', models.JSONField(blank=True, default=dict)),
                    ('candidate', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='replays', to='serving.release')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='replays', to='labeling.project')),
                    ('stable', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='replay_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Replica',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('host', models.CharField(max_length=200)),
                    ('slot', models.PositiveSmallIntegerField(help_text='its number on the host')),
                    ('state', models.CharField(choices=[('starting', 'starting'), ('ready', 'ready'), ('draining', 'draining'), ('failed', 'failed')], default='starting', max_length=10)),
                    ('address', models.CharField(blank=True, help_text='unix:PATH or http://HOST:PORT', max_length=300)),
                    ('pid', models.PositiveIntegerField(default=0)),
                    ('identity', models.JSONField(blank=True, default=dict, help_text='hashes as the running process reports them')),
                    ('error', models.TextField(blank=True, help_text='why it failed, as a sentence')),
                    ('starts', models.PositiveIntegerField(default=0)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('release', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='replicas', to='serving.release')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('release', 'host', 'slot'), name='replica_slot_once')],
                },
            ),
            migrations.CreateModel(
                name='ReplicaCrash',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('host', models.CharField(max_length=200)),
                    ('error', models.TextField(blank=True, help_text='why, as a sentence')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('release', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='crashes', to='serving.release')),
                ],
                options={
                    'indexes': [models.Index(fields=['release', 'created_at'], name='replica_crashes')],
                },
            ),
            migrations.CreateModel(
                name='RetrainingProposal',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('rule', models.CharField(choices=[('labels', 'new labels'), ('accuracy', 'live accuracy')], max_length=10)),
                    ('key', models.CharField(max_length=40)),
                    ('facts', models.JSONField(default=dict, help_text='the figures at the time')),
                    ('state', models.CharField(choices=[('open', 'open'), ('started', 'training started'), ('dismissed', 'dismissed')], default='open', max_length=10)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='retraining_proposals', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'rule', 'key'), name='retraining_proposed_once')],
                },
            ),
            migrations.CreateModel(
                name='ReviewItem',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('text_sha256', models.CharField(max_length=64)),
                    ('status', models.CharField(choices=[('open', 'open'), ('sent', 'sent to labeling'), ('right', 'marked right'), ('dismissed', 'dismissed')], default='open', max_length=10)),
                    ('reason', models.CharField(choices=[('feedback', 'negative feedback'), ('failure', 'invalid output'), ('review', 'needs review'), ('shadow', 'shadow disagrees'), ('fallback', 'fallback'), ('confidence', 'low confidence'), ('audit', 'audit sample'), ('uniform', 'uniform sample')], help_text='the most urgent one', max_length=10)),
                    ('reasons', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=10), default=list, size=None)),
                    ('severity', models.FloatField(default=0, help_text='0 to 1; the order of the queue, worst first')),
                    ('draws_count', models.PositiveIntegerField(default=0)),
                    ('members_count', models.PositiveIntegerField(default=0, help_text='near-duplicates that it leads')),
                    ('signature', models.BinaryField(help_text='MinHash of the text, a byte each, of leaders', null=True)),
                    ('request_id', models.UUIDField(help_text='the request that is shown')),
                    ('day', models.DateField(help_text='of that request')),
                    ('decided_at', models.DateTimeField(blank=True, null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='review_items', to='labeling.document')),
                    ('judged_by', models.ForeignKey(blank=True, help_text='the gold label that judged its requests', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='labeling.annotationrevision')),
                    ('leader', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='members', to='serving.reviewitem')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='review_items', to='labeling.project')),
                    ('release', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                ],
                options={
                    'indexes': [models.Index(condition=models.Q(('leader__isnull', True), ('status', 'open')), fields=['project', '-id'], name='review_newest_open'), models.Index(condition=models.Q(('leader__isnull', True), ('status', 'open')), fields=['project', '-severity', '-id'], name='review_worst_open')],
                    'constraints': [models.UniqueConstraint(fields=('project', 'text_sha256'), name='review_item_once')],
                },
            ),
            migrations.CreateModel(
                name='Draw',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('request_id', models.UUIDField(unique=True)),
                    ('day', models.DateField(help_text='of the request in UTC')),
                    ('created_at', models.DateTimeField(help_text='of the request')),
                    ('probabilities', models.JSONField(default=dict, help_text='reason -> probability of being drawn for it')),
                    ('uniform_probability', models.FloatField(help_text='where it is in the uniform sample', null=True)),
                    ('predictor', models.FloatField(help_text='the expected probability that the output is right', null=True)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('release', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                    ('item', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='draws', to='serving.reviewitem')),
                ],
                options={
                    'indexes': [models.Index(condition=models.Q(('uniform_probability__isnull', False)), fields=['project', 'release', 'day'], name='draw_uniform')],
                },
            ),
            migrations.CreateModel(
                name='Rollout',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('began_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('ended_at', models.DateTimeField(blank=True, null=True)),
                    ('outcome', models.CharField(blank=True, choices=[('', 'running'), ('promoted', 'promoted'), ('aborted', 'aborted')], max_length=10)),
                    ('steps', models.JSONField(blank=True, default=list)),
                    ('log_e', models.JSONField(blank=True, default=dict, help_text='question -> logarithm of the e-value')),
                    ('verdict', models.CharField(blank=True, help_text='see serving.rollouts.verdicts', max_length=10)),
                    ('code', models.CharField(blank=True, help_text='why, in one word', max_length=20)),
                    ('reason', models.TextField(blank=True, help_text='why, as a sentence')),
                    ('checked_at', models.DateTimeField(blank=True, null=True)),
                    ('candidate', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='serving.release')),
                    ('deployment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='serving.deployment')),
                    ('event', models.OneToOneField(help_text='that began it', on_delete=django.db.models.deletion.CASCADE, related_name='rollout', to='serving.deploymentevent')),
                ],
                options={
                    'indexes': [models.Index(fields=['deployment', '-id'], name='rollout_history')],
                    'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('deployment',), name='rollout_running_once')],
                },
            ),
            migrations.CreateModel(
                name='RolloutPlan',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('auto_promote', models.BooleanField(default=False)),
                    ('margin', models.FloatField(default=2.0, help_text='a candidate is non-inferior that fails less than so many times as often as the stable version', validators=[django.core.validators.MinValueValidator(1.05), django.core.validators.MaxValueValidator(10)])),
                    ('max_failure_rate', models.FloatField(blank=True, default=0.02, help_text='of the candidate; empty: no limit', null=True, validators=[django.core.validators.MinValueValidator(0.0001), django.core.validators.MaxValueValidator(0.5)])),
                    ('p95_ms', models.PositiveIntegerField(blank=True, help_text='of the candidate; empty: no limit', null=True)),
                    ('max_disagreement', models.FloatField(blank=True, default=0.5, help_text='share of the documents on which fewer than half of the fields agree; empty: no limit', null=True, validators=[django.core.validators.MinValueValidator(0.05), django.core.validators.MaxValueValidator(0.99)])),
                    ('min_requests', models.PositiveIntegerField(default=200, help_text='that the candidate answers at each share')),
                    ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='plan', to='serving.deployment')),
                ],
            ),
            migrations.CreateModel(
                name='SampleDay',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('day', models.DateField(help_text='in UTC')),
                    ('requests', models.PositiveIntegerField(default=0)),
                    ('answered', models.PositiveIntegerField(default=0)),
                    ('predicted', models.PositiveIntegerField(default=0)),
                    ('predictor_sum', models.FloatField(default=0)),
                    ('predictor_squares', models.FloatField(default=0)),
                    ('reasons', models.JSONField(blank=True, default=dict, help_text='reason -> requests that had it')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('release', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='serving.release')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'day', 'release'), name='sample_day_once')],
                },
            ),
            migrations.CreateModel(
                name='SamplePlan',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('share', models.FloatField(default=0.01, help_text='of the answered requests, for the uniform sample', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)])),
                    ('per_day', models.PositiveIntegerField(default=20, help_text='the uniform sample has about this many requests a day, at least')),
                    ('targeted_per_day', models.PositiveIntegerField(default=50, help_text='requests drawn for each other reason, about, at most')),
                    ('low_confidence', models.FloatField(blank=True, help_text="below it the confidence of a field is low; empty: that of the project's forms", null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)])),
                    ('redact', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=12), blank=True, default=list, help_text='kinds of values that the queue and documents do not show; see serving.feedback.redaction', size=None)),
                    ('drawn_until', models.DateTimeField(blank=True, help_text='requests before it were considered', null=True)),
                    ('retrain_labels', models.PositiveIntegerField(blank=True, help_text='new gold labels after which a training run is proposed; empty: never', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                    ('retrain_tag', models.CharField(blank=True, help_text='only documents with this failure tag count', max_length=40)),
                    ('retrain_below', models.FloatField(blank=True, help_text='a training run is proposed once live accuracy is below it, with confidence; empty: never', null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)])),
                    ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='sample_plan', to='serving.deployment')),
                ],
            ),
            migrations.CreateModel(
                name='TokenUsage',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project_id', models.BigIntegerField()),
                    ('token_id', models.BigIntegerField()),
                    ('day', models.DateField()),
                    ('requests', models.BigIntegerField(default=0)),
                    ('answered', models.BigIntegerField(default=0, help_text='with a valid output')),
                    ('prompt_tokens', models.BigIntegerField(default=0)),
                    ('output_tokens', models.BigIntegerField(default=0)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project_id', 'token_id', 'day'), name='token_usage_once')],
                },
            ),
            migrations.CreateModel(
                name='Traffic',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project_id', models.BigIntegerField()),
                    ('seconds', models.PositiveIntegerField(help_text='the length of the span')),
                    ('start', models.DateTimeField()),
                    ('release_id', models.BigIntegerField(default=0, help_text='0: no version was chosen')),
                    ('stage', models.CharField(blank=True, help_text='of the candidate at the time', max_length=10)),
                    ('source', models.CharField(blank=True, help_text='as in the log, or shadow', max_length=10)),
                    ('requests', models.PositiveIntegerField(default=0)),
                    ('answered', models.PositiveIntegerField(default=0)),
                    ('invalid', models.PositiveIntegerField(default=0, help_text='outputs that do not match the schema')),
                    ('validated', models.PositiveIntegerField(default=0, help_text='outputs that were compared with the schema')),
                    ('errors', models.JSONField(blank=True, default=dict, help_text='"STATUS CODE" -> number')),
                    ('prompt_tokens', models.BigIntegerField(default=0)),
                    ('output_tokens', models.BigIntegerField(default=0)),
                    ('model_ms', models.FloatField(default=0, help_text='time of the model, summed')),
                    ('fallback_cost', models.FloatField(default=0, help_text='of the larger model, in the currency of the contract')),
                    ('total', models.JSONField(blank=True, default=dict)),
                    ('queue', models.JSONField(blank=True, default=dict)),
                    ('model', models.JSONField(blank=True, default=dict)),
                    ('fallback', models.JSONField(blank=True, default=dict, help_text='of requests for which it was asked')),
                    ('gateway', models.JSONField(blank=True, default=dict)),
                ],
                options={
                    'indexes': [models.Index(fields=['seconds', 'start'], name='traffic_age')],
                    'constraints': [models.UniqueConstraint(fields=('project_id', 'seconds', 'start', 'release_id', 'stage', 'source'), name='traffic_once')],
                },
            ),
            migrations.CreateModel(
                name='TrafficMark',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project_id', models.BigIntegerField()),
                    ('minute', models.DateTimeField()),
                ],
                options={
                    'indexes': [models.Index(fields=['minute', 'project_id'], name='traffic_mark')],
                },
            ),
            migrations.CreateModel(
                name='AlertEvent',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('metric', models.CharField(max_length=20)),
                    ('kind', models.CharField(choices=[('firing', 'firing'), ('resolved', 'resolved')], max_length=8)),
                    ('value', models.FloatField(blank=True, null=True)),
                    ('limit', models.FloatField()),
                    ('sentence', models.TextField()),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('mail', models.CharField(choices=[('none', 'not sent: no recipients'), ('waiting', 'waiting'), ('sent', 'sent'), ('failed', 'failed')], default='none', max_length=8)),
                    ('mail_attempts', models.PositiveSmallIntegerField(default=0)),
                    ('mail_error', models.CharField(blank=True, max_length=300)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='alert_events', to='labeling.project')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', '-id'], name='alert_history'), models.Index(condition=models.Q(('mail', 'waiting')), fields=['created_at'], name='alert_mail')],
                },
            ),
            migrations.CreateModel(
                name='AlertRule',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('metric', models.CharField(max_length=20)),
                    ('limit', models.FloatField(validators=[django.core.validators.MinValueValidator(0)])),
                    ('window_seconds', models.PositiveIntegerField(default=600, help_text='of which the metric is', validators=[django.core.validators.MinValueValidator(60), django.core.validators.MaxValueValidator(86400)])),
                    ('for_seconds', models.PositiveIntegerField(default=300, help_text='that the limit has to be exceeded', validators=[django.core.validators.MaxValueValidator(86400)])),
                    ('min_requests', models.PositiveIntegerField(default=20, help_text='in the window; with fewer nothing is concluded')),
                    ('missing_fires', models.BooleanField(default=False, help_text='no requests at all count as exceeding the limit')),
                    ('enabled', models.BooleanField(default=True)),
                    ('state', models.CharField(choices=[('ok', 'ok'), ('pending', 'pending'), ('firing', 'firing')], default='ok', max_length=8)),
                    ('since', models.DateTimeField(default=django.utils.timezone.now, help_text='of the state')),
                    ('clear_since', models.DateTimeField(blank=True, help_text='firing, and below the limit since then', null=True)),
                    ('checked_at', models.DateTimeField(blank=True, null=True)),
                    ('measured_at', models.DateTimeField(blank=True, help_text='the last check with enough requests', null=True)),
                    ('value', models.FloatField(blank=True, help_text='when it was checked; empty: not enough requests', null=True)),
                    ('note', models.CharField(blank=True, help_text='more about the value', max_length=300)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='alert_rules', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'metric'), name='alert_rule_once')],
                },
            ),
            migrations.CreateModel(
                name='BatchRun',
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
                    ('name', models.CharField(max_length=200)),
                    ('sha256', models.CharField(help_text='of the input as it was sent', max_length=64)),
                    ('idempotency_key', models.CharField(blank=True, max_length=200)),
                    ('evidence', models.BooleanField(default=True)),
                    ('input_key', models.CharField(blank=True, help_text='in the artifact store; empty once erased', max_length=300)),
                    ('result_key', models.CharField(blank=True, max_length=300)),
                    ('answered', models.PositiveIntegerField(default=0, help_text='lines with a valid output')),
                    ('failed', models.PositiveIntegerField(default=0, help_text='lines with an error')),
                    ('code', models.CharField(blank=True, help_text='why it stopped, for programs', max_length=40)),
                    ('facts', models.JSONField(blank=True, default=dict)),
                    ('erased_at', models.DateTimeField(blank=True, help_text='when the files were deleted', null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='batches', to='labeling.project')),
                    ('token', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='batches', to='labeling.apitoken')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', '-id'], name='batch_history')],
                    'constraints': [models.UniqueConstraint(condition=models.Q(('idempotency_key', ''), _negated=True), fields=('project', 'idempotency_key'), name='batch_key_once')],
                },
            ),
            migrations.CreateModel(
                name='Budget',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('requests_per_month', models.PositiveBigIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                    ('tokens_per_month', models.PositiveBigIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                    ('tokens_per_minute', models.PositiveBigIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                    ('requests_per_minute', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='labeling.project')),
                    ('token', models.ForeignKey(blank=True, help_text='empty: all requests of the project together', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='labeling.apitoken')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'token'), name='budget_once', nulls_distinct=False), models.CheckConstraint(condition=models.Q(('requests_per_month__isnull', False), ('tokens_per_month__isnull', False), ('tokens_per_minute__isnull', False), ('requests_per_minute__isnull', False), _connector='OR'), name='budget_limits_something')],
                },
            ),
            migrations.CreateModel(
                name='CaptureKey',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('sha256', models.CharField(max_length=64)),
                    ('prefix', models.CharField(help_text='what is shown of it', max_length=20)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('removed_at', models.DateTimeField(blank=True, null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='capture_keys', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(condition=models.Q(('removed_at', None)), fields=('project', 'sha256'), name='capture_key_once')],
                },
            ),
            migrations.CreateModel(
                name='CertificatePair',
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
                    ('certificate', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pairs', to='serving.certificate')),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.document')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('certificate', 'document'), name='certificate_pair_once')],
                },
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
                    ('basis', models.CharField(choices=[('proven', 'proven with 95% confidence'), ('expected', 'expected by the calibration')], default='proven', max_length=10)),
                    ('rest', models.CharField(choices=[('people', 'people'), ('fallback', 'the larger model')], default='people', max_length=10)),
                    ('audit_share', models.FloatField(default=0.05, help_text='of the automatic answers that people check', validators=[django.core.validators.MinValueValidator(0.001), django.core.validators.MaxValueValidator(1)])),
                    ('audit_since', models.DateTimeField(blank=True, help_text='requests from then on count', null=True)),
                    ('broken_at', models.DateTimeField(blank=True, null=True)),
                    ('broken_reason', models.TextField(blank=True, help_text='as a sentence')),
                    ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.endpoint')),
                    ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='policy', to='serving.deployment')),
                ],
                options={
                    'constraints': [models.CheckConstraint(condition=models.Q(('budget_wrong__isnull', True), ('budget_wrong__lt', models.F('budget_of')), _connector='OR'), name='policy_budget_is_a_share')],
                },
            ),
        ]),
        migrations.RunSQL(REQUEST_LOG, DROP_REQUEST_LOG),
        migrations.RunSQL(MARKS, "DROP FUNCTION serving_mark_traffic() CASCADE;"),
    ]
