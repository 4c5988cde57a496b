"""The tables of evaluation; see the migration of labeling for what it replaces."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import slmstudio.database.fields
import uuid
from django.conf import settings
from django.db import migrations, models
from slmstudio.database.operations import CreateModels

# The audit log only grows: the database refuses to change, delete or empty it. An entry has its position in the chain
# of its project, the hash of the entry before it, and a hash of itself, computed under the lock of the project's row,
# so that concurrent entries follow each other. ``evaluation.audit.hash_chain`` describes what is hashed.
AUDIT = r"""
CREATE FUNCTION evaluation_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log only grows: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER evaluation_auditentry_frozen BEFORE UPDATE OR DELETE ON evaluation_auditentry
FOR EACH ROW EXECUTE FUNCTION evaluation_refuse_audit_change();
CREATE TRIGGER evaluation_auditentry_kept BEFORE TRUNCATE ON evaluation_auditentry
FOR EACH STATEMENT EXECUTE FUNCTION evaluation_refuse_audit_change();

-- The search path of the functions is fixed, so that a temporary table with the name of one of ours is not used.
CREATE FUNCTION evaluation_audit_content(entry evaluation_auditentry) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'project', entry.project_id, 'position', entry.position, 'user', entry.user_id, 'action', entry.action,
        'about', entry.about, 'details', entry.details,
        'at', to_char(entry.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )::text
$$;
CREATE FUNCTION evaluation_audit_hash(entry evaluation_auditentry) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT encode(
        sha256(convert_to(entry.previous_sha256 || E'\n' || evaluation_audit_content(entry), 'UTF8')), 'hex'
    )
$$;
CREATE FUNCTION evaluation_chain_audit_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    last record;
BEGIN
    PERFORM 1 FROM labeling_project WHERE id = NEW.project_id FOR NO KEY UPDATE;
    SELECT position, sha256 INTO last FROM evaluation_auditentry
    WHERE project_id = NEW.project_id ORDER BY position DESC LIMIT 1;
    NEW.position := coalesce(last.position, 0) + 1;
    NEW.previous_sha256 := coalesce(last.sha256, '');
    NEW.sha256 := evaluation_audit_hash(NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER evaluation_auditentry_chain BEFORE INSERT ON evaluation_auditentry
FOR EACH ROW EXECUTE FUNCTION evaluation_chain_audit_entry();
"""
DROP_AUDIT = """
DROP FUNCTION evaluation_chain_audit_entry() CASCADE;
DROP FUNCTION evaluation_audit_hash(evaluation_auditentry);
DROP FUNCTION evaluation_audit_content(evaluation_auditentry);
DROP FUNCTION evaluation_refuse_audit_change() CASCADE;
"""


class Migration(migrations.Migration):

    replaces = [
        ('evaluation', '0001_initial'),
        ('evaluation', '0002_audit_log'),
        ('evaluation', '0003_prelabels'),
        ('evaluation', '0004_benchmarks'),
        ('evaluation', '0005_cases_and_backends'),
        ('evaluation', '0006_policy_proposals'),
        ('evaluation', '0007_audit_chain'),
        ('evaluation', '0008_validation_first_and_measurements'),
        ('evaluation', '0009_reasoning_endpoints'),
        ('evaluation', '0010_audit_search_path'),
        ('evaluation', '0011_labels_of_runs_and_endpoints'),
        ('evaluation', '0012_labels_of_gates'),
        ('evaluation', '0013_labels_of_benchmarks'),
        ('evaluation', '0014_provenance_of_reports'),
        ('evaluation', '0015_opened_outputs_and_validation_stages'),
        ('evaluation', '0016_evaluation_idempotency_key'),
        ('evaluation', '0017_production_of_reports'),
        ('evaluation', '0018_classical_models'),
        ('evaluation', '0019_prompt_searches'),
        ('evaluation', '0020_label_checks'),
        ('evaluation', '0021_learning_curves'),
        ('evaluation', '0022_windows_of_outputs'),
        ('evaluation', '0023_endpoint_window_tokens'),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('labeling', '0001_schema'),
        ('training', '0001_schema'),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='Benchmark',
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
                    ('seed', models.PositiveIntegerField()),
                    ('documents', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='keys of the documents, in evaluation order', size=None)),
                    ('examples', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='keys of the few-shot examples of base models', size=None)),
                    ('modes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=12), help_text='of EvalRun.Mode', size=None)),
                    ('constraints', models.JSONField(blank=True, default=dict, help_text='constraints of the contract when it started')),
                    ('result', models.JSONField(blank=True, default=dict, help_text='see evaluation.benchmarks.recommendation.Recommendation')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='benchmarks', to='labeling.datasetversion')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='benchmarks', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='benchmark_number_once')],
                },
            ),
            migrations.CreateModel(
                name='ClassicalModel',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('kind', models.CharField(choices=[('tfidf', 'TF-IDF and logistic regression'), ('embeddings', 'Embeddings and logistic regression'), ('rules', 'Extraction rules')], max_length=12)),
                    ('labels', models.PositiveIntegerField(default=0, help_text='how many training labels, drawn by the seed; 0: all')),
                    ('excluded', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, default=list, help_text='keys of training documents that are left out', size=None)),
                    ('seed', models.PositiveIntegerField(default=17)),
                    ('sha256', models.CharField(blank=True, help_text='of its folder; empty until it is trained', max_length=64)),
                    ('facts', models.JSONField(blank=True, default=dict, help_text='the done event of evaluation.ml.classical.train')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='classical_models', to='labeling.datasetversion')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='classical_models', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='classical_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Endpoint',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=80)),
                    ('url', models.CharField(max_length=300)),
                    ('model', models.CharField(help_text='the model name in requests', max_length=200)),
                    ('key_variable', models.CharField(blank=True, max_length=80)),
                    ('structured', models.CharField(choices=[('auto', 'automatic'), ('json_schema', 'JSON Schema'), ('json_object', 'any JSON object'), ('free', 'prompt only')], default='auto', max_length=12)),
                    ('logprobs', models.BooleanField(default=True, help_text='request token probabilities')),
                    ('timeout_seconds', models.PositiveIntegerField(default=60)),
                    ('at_once', models.PositiveSmallIntegerField(default=4, help_text='concurrent requests')),
                    ('max_tokens', models.PositiveIntegerField(default=1024, help_text='of one output, including reasoning')),
                    ('window_tokens', models.PositiveIntegerField(blank=True, help_text='a longer document is read in windows of this size; empty: never', null=True)),
                    ('reasoning_effort', models.CharField(blank=True, choices=[('none', 'none'), ('minimal', 'minimal'), ('low', 'low'), ('medium', 'medium'), ('high', 'high'), ('xhigh', 'extra high')], default='', max_length=10)),
                    ('accepts', models.JSONField(blank=True, default=dict, help_text='the options that the model at this URL accepted')),
                    ('price_in', models.FloatField(blank=True, help_text='per million input tokens, in the currency of the contract', null=True)),
                    ('price_out', models.FloatField(blank=True, help_text='per million output tokens', null=True)),
                    ('retired_at', models.DateTimeField(blank=True, null=True)),
                    ('tested_at', models.DateTimeField(blank=True, null=True)),
                    ('test_result', models.JSONField(blank=True, default=dict, help_text='result of the last test')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='endpoints', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(condition=models.Q(('retired_at__isnull', True)), fields=('project', 'name'), name='endpoint_name_once')],
                },
            ),
            migrations.CreateModel(
                name='EvalRun',
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
                    ('split', models.CharField(choices=[('train', 'train'), ('validation', 'validation'), ('holdout', 'hold-out'), ('benchmark', 'benchmark')], default='validation', max_length=10)),
                    ('mode', models.CharField(choices=[('constrained', 'constrained'), ('grounded', 'grounded'), ('free', 'unconstrained')], default='constrained', max_length=12)),
                    ('idempotency_key', models.CharField(blank=True, help_text='of the request that started it', max_length=200)),
                    ('at_once', models.PositiveSmallIntegerField(default=1, help_text='concurrent documents')),
                    ('spec', models.TextField(blank=True, help_text='the EvalSpec as YAML, written when the run starts')),
                    ('scores', models.JSONField(blank=True, default=dict, help_text='see evaluation.runs.summary.summarize_outputs')),
                    ('latency', models.JSONField(blank=True, default=dict, help_text='p50, p95, p99 in ms, one document at a time')),
                    ('facts', models.JSONField(blank=True, default=dict, help_text='documents per second, peak memory, seconds')),
                    ('scorer_version', models.CharField(blank=True, max_length=20)),
                    ('outputs_sha256', models.CharField(blank=True, help_text='of the file of raw outputs', max_length=64)),
                    ('opened_at', models.DateTimeField(blank=True, help_text='when its outputs on the hold-out were opened', null=True)),
                    ('opened_reason', models.CharField(blank=True, max_length=300)),
                    ('base_model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='training.basemodel')),
                    ('benchmark', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='evaluation.benchmark')),
                    ('classical', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='evaluation.classicalmodel')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='labeling.datasetversion')),
                    ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='evaluation.endpoint')),
                    ('export', models.ForeignKey(blank=True, help_text='the GGUF file for llama.cpp; empty: the weights, with transformers', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='training.modelexport')),
                    ('model_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='training.modelversion')),
                    ('opened_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='eval_runs', to='labeling.project')),
                    ('rescored_from', models.ForeignKey(blank=True, help_text="the run whose outputs are re-scored with this run's dataset version", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='rescorings', to='evaluation.evalrun')),
                    ('training_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='training.trainingrun')),
                    ('prompt', models.ForeignKey(blank=True, help_text='the optimized prompt; empty: the instruction of the dataset and the usual examples', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='eval_runs', to='evaluation.promptsearch')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='eval_number_once'), models.UniqueConstraint(condition=models.Q(('idempotency_key', ''), _negated=True), fields=('project', 'idempotency_key'), name='eval_key_once'), models.CheckConstraint(condition=models.Q(models.Q(('base_model__isnull', False), ('classical__isnull', True), ('endpoint__isnull', True), ('training_run__isnull', True)), models.Q(('base_model__isnull', True), ('classical__isnull', True), ('endpoint__isnull', True), ('training_run__isnull', False)), models.Q(('base_model__isnull', True), ('classical__isnull', True), ('endpoint__isnull', False), ('training_run__isnull', True)), models.Q(('base_model__isnull', True), ('classical__isnull', False), ('endpoint__isnull', True), ('training_run__isnull', True)), _connector='OR'), name='eval_has_one_subject'), models.CheckConstraint(condition=models.Q(('export__isnull', True), ('training_run__isnull', False), _connector='OR'), name='eval_export_is_of_a_training'), models.CheckConstraint(condition=models.Q(('prompt__isnull', True), ('base_model__isnull', False), ('endpoint__isnull', False), _connector='OR'), name='eval_prompt_is_of_a_prompted_model'), models.CheckConstraint(condition=models.Q(models.Q(('benchmark__isnull', False), ('split', 'benchmark')), models.Q(('benchmark__isnull', True), models.Q(('split', 'benchmark'), _negated=True)), _connector='OR'), name='eval_benchmark_is_no_split')],
                },
            ),
            migrations.CreateModel(
                name='EvalOutput',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('gold', slmstudio.database.fields.ExactJSONField(help_text='the gold of the dataset version it was scored against')),
                    ('raw', models.TextField(blank=True)),
                    ('finish_reason', models.CharField(max_length=10)),
                    ('error', models.TextField(blank=True)),
                    ('score', slmstudio.database.fields.ExactJSONField(help_text='the DocumentScore; see slmstudio.contract.scoring.scorer', null=True)),
                    ('valid', models.BooleanField(default=False)),
                    ('exact', models.BooleanField(default=False)),
                    ('wrong_fields', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, help_text='patterns of wrong fields', size=None)),
                    ('errors', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, help_text='error types that occur', size=None)),
                    ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, help_text='failure tags in the dataset version', size=None)),
                    ('latency_ms', models.FloatField(default=0)),
                    ('prompt_tokens', models.PositiveIntegerField(default=0)),
                    ('output_tokens', models.PositiveIntegerField(default=0)),
                    ('windows', models.PositiveSmallIntegerField(default=1, help_text='parts in which a long document was read')),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='eval_outputs', to='labeling.document')),
                    ('eval_run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='outputs', to='evaluation.evalrun')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('eval_run', 'document'), name='eval_output_once')],
                },
            ),
            migrations.CreateModel(
                name='Comparison',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('result', slmstudio.database.fields.ExactJSONField()),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='comparisons', to='labeling.project')),
                    ('a', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='evaluation.evalrun')),
                    ('b', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='evaluation.evalrun')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('a', 'b'), name='comparison_once')],
                },
            ),
            migrations.CreateModel(
                name='GatePolicy',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('gates', models.JSONField()),
                    ('sha256', models.CharField(max_length=64)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gate_policies', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='policy_number_once')],
                },
            ),
            migrations.CreateModel(
                name='GateReport',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('production', models.JSONField(blank=True, default=dict, help_text='see evaluation.gates.production')),
                    ('look', models.PositiveIntegerField(help_text='number of the hold-out evaluation, counting from 1')),
                    ('verdicts', models.JSONField()),
                    ('sentence', models.CharField(max_length=300)),
                    ('passed', models.BooleanField()),
                    ('packet', models.JSONField(help_text='the manifest: hashes by name')),
                    ('provenance', models.JSONField(blank=True, default=dict, help_text='see evaluation.gates.provenance')),
                    ('pins_sha256', models.CharField(blank=True, default='', max_length=64)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('baseline', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('eval_run', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gate_reports', to='evaluation.evalrun')),
                    ('policy', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='reports', to='evaluation.gatepolicy')),
                    ('production_run', models.ForeignKey(blank=True, help_text='the evaluation of the current production model that a gate compares with', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gate_reports', to='labeling.project')),
                    ('measurement', models.ForeignKey(blank=True, help_text='what gates on resources use; empty: the evaluation itself', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.resourcemeasurement')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='gate_report_number_once'), models.UniqueConstraint(fields=('policy', 'eval_run', 'baseline', 'production_run', 'pins_sha256', 'measurement'), name='gate_report_once', nulls_distinct=False)],
                },
            ),
            migrations.CreateModel(
                name='Approval',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('decision', models.CharField(choices=[('approved', 'approved'), ('rejected', 'sent back')], max_length=10)),
                    ('reason', models.TextField()),
                    ('packet_sha256', models.CharField(max_length=64)),
                    ('waiver', models.JSONField(blank=True, null=True)),
                    ('decided_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('decided_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to=settings.AUTH_USER_MODEL)),
                    ('report', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='approval', to='evaluation.gatereport')),
                ],
            ),
            migrations.CreateModel(
                name='GoldQuestion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('field', models.CharField(blank=True, help_text='the challenged path; empty: the whole label', max_length=300)),
                    ('reason', models.TextField(blank=True)),
                    ('suggestion', slmstudio.database.fields.ExactJSONField(blank=True, help_text='the whole label with the value of the model, if no evaluation has it', null=True)),
                    ('suggested_by', models.CharField(blank=True, default='', max_length=200)),
                    ('answer', models.CharField(choices=[('open', 'open'), ('corrected', 'upheld'), ('confirmed', 'rejected')], default='open', max_length=10)),
                    ('answered_at', models.DateTimeField(blank=True, null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('answered_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gold_questions', to='labeling.document')),
                    ('eval_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='gold_questions', to='evaluation.evalrun')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gold_questions', to='labeling.project')),
                    ('revision', models.ForeignKey(help_text='the challenged gold label', on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(condition=models.Q(('answer', 'open')), fields=('document',), name='gold_question_open_once')],
                },
            ),
            migrations.CreateModel(
                name='LabelCheckRun',
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
                    ('source', models.CharField(choices=[('classifier', 'out-of-fold classifier'), ('predictions', 'pre-labels'), ('evaluation', 'evaluation on validation')], max_length=12)),
                    ('facts', models.JSONField(blank=True, default=dict)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('eval_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='label_checks', to='evaluation.evalrun')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='label_checks', to='labeling.project')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='label_check_number_once')],
                },
            ),
            migrations.CreateModel(
                name='LearningCurve',
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
                    ('shares', django.contrib.postgres.fields.ArrayField(base_field=models.FloatField(), help_text='of the training documents', size=None)),
                    ('seeds', models.PositiveSmallIntegerField(help_text='subsets of each share below 1')),
                    ('max_hours', models.FloatField(blank=True, help_text='the budget of all training runs', null=True)),
                    ('base_model', models.ForeignKey(blank=True, help_text='empty: the classifier', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='training.basemodel')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='learning_curves', to='labeling.datasetversion')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='learning_curves', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='learning_curve_number_once')],
                },
            ),
            migrations.CreateModel(
                name='LearningPoint',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('share', models.FloatField()),
                    ('seed', models.PositiveIntegerField()),
                    ('labels', models.PositiveIntegerField(help_text='training documents')),
                    ('fields', models.JSONField(blank=True, default=dict)),
                    ('seconds', models.FloatField(blank=True, help_text='of the training', null=True)),
                    ('curve', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='points', to='evaluation.learningcurve')),
                    ('eval_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='learning_points', to='evaluation.evalrun')),
                    ('training_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.trainingrun')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('curve', 'share', 'seed'), name='learning_point_once')],
                },
            ),
            migrations.CreateModel(
                name='LoopRun',
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
                    ('base', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('base_free', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('base_validation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('comparison', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='evaluation.comparison')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='loops', to='labeling.datasetversion')),
                    ('gate_report', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='evaluation.gatereport')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='loops', to='labeling.project')),
                    ('training_run', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='loops', to='training.trainingrun')),
                    ('tuned', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('tuned_free', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                    ('tuned_validation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='evaluation.evalrun')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='Pin',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('reason', models.CharField(blank=True, max_length=300)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('removed_at', models.DateTimeField(blank=True, null=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pins', to='labeling.document')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pins', to='labeling.project')),
                    ('removed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(condition=models.Q(('removed_at__isnull', True)), fields=('document',), name='pin_once')],
                },
            ),
            migrations.CreateModel(
                name='PolicyProposal',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('gates', models.JSONField(help_text='a whole policy; its changes to the policy that it is based on are proposed')),
                    ('reason', models.TextField()),
                    ('state', models.CharField(choices=[('open', 'open'), ('taken', 'accepted'), ('declined', 'declined'), ('withdrawn', 'withdrawn')], default='open', max_length=10)),
                    ('answer', models.TextField(blank=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('answered_at', models.DateTimeField(blank=True, null=True)),
                    ('answered_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('based_on', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='proposals', to='evaluation.gatepolicy')),
                    ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='policy_proposals', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='policy_proposal_number_once'), models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('project', 'created_by'), name='policy_proposal_one_open')],
                },
            ),
            migrations.CreateModel(
                name='PrelabelRun',
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
                    ('instruction', models.TextField()),
                    ('chosen', models.CharField(blank=True, help_text='which documents were selected, as text', max_length=300)),
                    ('examples', models.JSONField(blank=True, default=list, help_text='few-shot examples for an endpoint')),
                    ('token_budget', models.PositiveIntegerField(blank=True, help_text='an endpoint gets no more documents after it', null=True)),
                    ('spec', models.TextField(blank=True, help_text='the EvalSpec as YAML, of a model on this machine')),
                    ('facts', models.JSONField(blank=True, default=dict, help_text='device, tokens, request options')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prelabel_runs', to='evaluation.endpoint')),
                    ('model_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prelabel_runs', to='training.modelversion')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prelabel_runs', to='labeling.project')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='prelabel_number_once'), models.CheckConstraint(condition=models.Q(models.Q(('endpoint__isnull', True), ('model_version__isnull', False)), models.Q(('endpoint__isnull', False), ('model_version__isnull', True)), _connector='OR'), name='prelabel_has_one_subject')],
                },
            ),
            migrations.CreateModel(
                name='PrelabelItem',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('outcome', models.CharField(choices=[('waiting', 'pending'), ('valid', 'valid'), ('invalid', 'schema violation'), ('not_json', 'not a JSON object'), ('cut_off', 'truncated at the token limit'), ('empty', 'empty response'), ('declined', 'refused by the model'), ('web_page', 'HTML instead of JSON (check the URL)'), ('no_completion', 'not a chat completion response'), ('too_big', 'response too large'), ('timeout', 'timed out'), ('unreachable', 'connection failed'), ('busy', 'unavailable after several retries'), ('refused', 'request rejected'), ('too_long', 'document exceeds the context length'), ('model_error', 'model error'), ('held_out', 'moved to the hold-out during the run'), ('gone', 'document deleted during the run')], default='waiting', max_length=14)),
                    ('detail', models.CharField(blank=True, help_text='the error, as a sentence', max_length=300)),
                    ('looked_for', models.PositiveSmallIntegerField(default=0, help_text='values that need evidence in the text')),
                    ('found', models.PositiveSmallIntegerField(default=0, help_text='of these, values with evidence')),
                    ('seconds', models.FloatField(default=0)),
                    ('tokens', models.PositiveIntegerField(default=0, help_text='input and output')),
                    ('tries', models.PositiveSmallIntegerField(default=0)),
                    ('document', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='prelabel_items', to='labeling.document')),
                    ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='evaluation.prelabelrun')),
                ],
                options={
                    'indexes': [models.Index(fields=['run', 'outcome', 'id'], name='prelabel_outcome')],
                    'constraints': [models.UniqueConstraint(fields=('run', 'document'), name='prelabel_item_once')],
                },
            ),
            migrations.CreateModel(
                name='PromptSearch',
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
                    ('instruction', models.TextField(blank=True, help_text='the best instruction; empty until the search is done')),
                    ('examples', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, default=list, help_text='keys of the few-shot examples, in their order', size=None)),
                    ('documents', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='keys of the validation documents of every trial', size=None)),
                    ('seed', models.PositiveIntegerField()),
                    ('max_trials', models.PositiveSmallIntegerField()),
                    ('max_minutes', models.PositiveIntegerField()),
                    ('max_cost', models.FloatField(blank=True, help_text='in the currency of the contract; empty: no limit', null=True)),
                    ('trials', models.JSONField(blank=True, default=list, help_text='see evaluation.prompts.search.Trial')),
                    ('facts', models.JSONField(blank=True, default=dict)),
                    ('base_model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prompt_searches', to='training.basemodel')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='prompt_searches', to='labeling.datasetversion')),
                    ('endpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prompt_searches', to='evaluation.endpoint')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prompt_searches', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='prompt_search_number_once'), models.CheckConstraint(condition=models.Q(models.Q(('base_model__isnull', False), ('endpoint__isnull', True)), models.Q(('base_model__isnull', True), ('endpoint__isnull', False)), _connector='OR'), name='prompt_search_has_one_model')],
                },
            ),
            migrations.CreateModel(
                name='ResourceMeasurement',
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
                    ('requests', models.JSONField(blank=True, default=list, help_text='of each document: its key, latency_ms, prompt_tokens, output_tokens, finish_reason')),
                    ('latency', models.JSONField(blank=True, default=dict, help_text='p50, p95, p99 in ms')),
                    ('facts', models.JSONField(blank=True, default=dict, help_text='documents per second, peak memory, seconds, device')),
                    ('sha256', models.CharField(blank=True, help_text='of the requests', max_length=64)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('eval_run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='measurements', to='evaluation.evalrun')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='resource_measurements', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(condition=models.Q(('status__in', ['queued', 'running'])), fields=('eval_run',), name='measurement_one_live')],
                },
            ),
            migrations.CreateModel(
                name='SuspectLabel',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('place', models.PositiveIntegerField()),
                    ('field', models.CharField(max_length=300)),
                    ('gold', slmstudio.database.fields.ExactJSONField(null=True)),
                    ('predicted', slmstudio.database.fields.ExactJSONField(null=True)),
                    ('suggestion', slmstudio.database.fields.ExactJSONField(help_text='the whole label with the predicted value')),
                    ('probability', models.FloatField(help_text='of the prediction')),
                    ('gold_probability', models.FloatField()),
                    ('confident', models.BooleanField(help_text='wrong by confident learning')),
                    ('model', models.CharField(max_length=200)),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.document')),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='suspects', to='evaluation.labelcheckrun')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('run', 'place'), name='suspect_place_once')],
                },
            ),
            migrations.CreateModel(
                name='AuditEntry',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('action', models.CharField(max_length=60)),
                    ('about', models.CharField(max_length=200)),
                    ('details', models.JSONField(blank=True, default=dict)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('position', models.PositiveIntegerField(default=0, editable=False)),
                    ('previous_sha256', models.CharField(blank=True, default='', editable=False, max_length=64)),
                    ('sha256', models.CharField(blank=True, default='', editable=False, max_length=64)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='audit_entries', to='labeling.project')),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'position'), name='audit_position_once')],
                },
            ),
        ]),
        migrations.RunSQL(AUDIT, DROP_AUDIT),
    ]
