"""The tables of labeling.

It replaces the migrations of the development before the first release: a database that has applied all of them takes
this one as applied. The name differs from theirs, because a migration cannot replace itself.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.contrib.postgres.operations import TrigramExtension
import django.db.models.deletion
import django.utils.timezone
import slmstudio.database.fields
import uuid
from django.conf import settings
from django.db import migrations, models
from slmstudio.database.operations import CreateModels

# Only ``created_by`` may change, because deleting a person empties it. Compared as text: jsonb calls 1.5 and 1.50 equal.
FREEZE = """
CREATE FUNCTION labeling_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - 'created_by_id')::text IS DISTINCT FROM (to_jsonb(OLD) - 'created_by_id')::text THEN
        RAISE EXCEPTION 'rows of % are frozen and cannot be changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
""" + "".join(
    f"CREATE TRIGGER {table}_frozen BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION labeling_refuse_change();\n"
    for table in (
        "labeling_schemaversion",
        "labeling_annotationrevision",
        "labeling_datasetversion",
        "labeling_datasetitem",
        "labeling_silveritem",
    )
)

# A document that leaves the queue, or returns to it, keeps its place; the index of the queue has the open ones.
PLACES = """
CREATE FUNCTION labeling_update_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE labeling_documentplace SET open = NEW.state IN ('new', 'in_progress', 'rejected')
    WHERE document_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER labeling_document_place AFTER UPDATE OF state ON labeling_document FOR EACH ROW
WHEN ((OLD.state IN ('new', 'in_progress', 'rejected')) <> (NEW.state IN ('new', 'in_progress', 'rejected')))
EXECUTE FUNCTION labeling_update_place();
"""

# How often a state occurs in each project: without it the planner, and so an approximate count, assumes the average of
# all projects.
STATISTICS = """
CREATE STATISTICS document_mix (mcv) ON project_id, state, holdout, synthetic FROM labeling_document;
"""

# Texts of a few pages stay in their row uncompressed: the document list reads hundreds of them one by one, and reading
# them compressed or out of line takes three times as long.
STORAGE = "ALTER TABLE labeling_documentsearch SET (toast_tuple_target = 8160);"


class Migration(migrations.Migration):

    replaces = [
        ('labeling', '0001_initial'),
        ('labeling', '0002_frozen_rows'),
        ('labeling', '0003_work_and_predictions'),
        ('labeling', '0004_membership_role_since'),
        ('labeling', '0005_presence'),
        ('labeling', '0006_returned_and_encoding'),
        ('labeling', '0007_gold_under_newest_version'),
        ('labeling', '0008_field_texts'),
        ('labeling', '0009_document_selection'),
        ('labeling', '0010_pasted_schemas'),
        ('labeling', '0011_item_families'),
        ('labeling', '0012_queue_order'),
        ('labeling', '0013_silver_labels'),
        ('labeling', '0014_undo_approvals'),
        ('labeling', '0015_import_attempts'),
        ('labeling', '0016_own_tags_of_documents'),
        ('labeling', '0017_webhook_salts_name_a_key'),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        TrigramExtension(),
        CreateModels([
            migrations.CreateModel(
                name='Document',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('external_id', models.CharField(max_length=200)),
                    ('text', models.TextField()),
                    ('sha256', models.CharField(help_text='of the text; unique in a project', max_length=64)),
                    ('source', models.CharField(blank=True, max_length=200)),
                    ('metadata', slmstudio.database.fields.ExactJSONField(blank=True, default=dict)),
                    ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), blank=True, default=list, help_text='failure tags', size=None)),
                    ('state', models.CharField(choices=[('new', 'new'), ('in_progress', 'in progress'), ('submitted', 'submitted'), ('approved', 'approved'), ('rejected', 'rejected'), ('skipped', 'skipped')], default='new', max_length=12)),
                    ('holdout', models.BooleanField(default=False, help_text='in the hold-out; permanent once a dataset version has it')),
                    ('synthetic', models.BooleanField(default=False)),
                    ('locked_until', models.DateTimeField(blank=True, null=True)),
                    ('wanted', models.PositiveSmallIntegerField(default=1, help_text='overlap: number of annotators who label it independently')),
                    ('disputed', models.BooleanField(db_default=False, default=False, help_text='its annotations conflict; it waits for adjudication')),
                    ('selection', models.CharField(blank=True, choices=[('', 'not from requests'), ('uniform', 'uniform sample of requests'), ('targeted', 'request chosen for review')], db_default='', default='', help_text='targeted documents are never drawn into the hold-out: they do not represent the requests', max_length=8)),
                    ('page_count', models.PositiveSmallIntegerField(default=0, help_text='pages with an image; 0 for plain text')),
                    ('skip_reason', models.CharField(blank=True, max_length=300)),
                    ('returned', models.JSONField(blank=True, help_text='while it is requeued for a schema version: the number of that version, the reason, and the former state and disputed', null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('assigned_to', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('locked_by', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='documents', to='labeling.project')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'id'], name='document_list'), models.Index(fields=['project', 'state', 'id'], name='document_state'), models.Index(condition=models.Q(('holdout', True)), fields=['project', 'id'], name='document_holdout'), models.Index(condition=models.Q(('assigned_to__isnull', False)), fields=['project', 'assigned_to', 'id'], name='document_assigned'), models.Index(condition=models.Q(('disputed', True)), fields=['project', 'id'], name='document_disputed'), models.Index(condition=models.Q(('assigned_to__isnull', True), ('state__in', ['new', 'in_progress', 'rejected'])), fields=['project', 'id'], name='document_open'), models.Index(condition=models.Q(('assigned_to__isnull', False), ('state__in', ['new', 'in_progress', 'rejected'])), fields=['project', 'assigned_to', 'id'], name='document_mine'), models.Index(condition=models.Q(('wanted__gt', 1)), fields=['project', 'id'], name='document_overlap'), models.Index(fields=['project', 'source', 'id'], name='document_source'), models.Index(condition=models.Q(('synthetic', True)), fields=['project', 'id'], name='document_synthetic'), django.contrib.postgres.indexes.GinIndex(fields=['tags'], name='document_tags')],
                    'constraints': [models.UniqueConstraint(fields=('project', 'sha256'), name='document_text_once'), models.UniqueConstraint(fields=('project', 'external_id'), name='document_id_once')],
                },
            ),
            migrations.CreateModel(
                name='Project',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('slug', models.SlugField(max_length=60, unique=True)),
                    ('name', models.CharField(max_length=120)),
                    ('template', models.CharField(blank=True, help_text='the template that it was created from', max_length=40)),
                    ('review_required', models.BooleanField(default=False, help_text='a submitted annotation becomes gold when it is approved')),
                    ('four_eyes', models.BooleanField(default=True, help_text='users cannot review their own labels or approve their own runs')),
                    ('overlap_share', models.FloatField(default=0, help_text='share of new documents with overlap, 0 to 1')),
                    ('overlap_people', models.PositiveSmallIntegerField(default=2, help_text='annotators per document with overlap')),
                    ('withheld_share', models.FloatField(default=0.05, help_text='share of withheld pre-labels, 0 to 1')),
                    ('confidence_floor', models.FloatField(default=0.85, help_text='pre-filled fields with a lower confidence need attention')),
                    ('extra_tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), blank=True, default=list, help_text='failure tags of this project, in addition to the vocabulary', size=None)),
                    ('webhook_events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), blank=True, default=list, help_text='the events that any of its webhooks receives', size=None)),
                    ('queue_order', models.CharField(blank=True, choices=[('', 'import order'), ('combined', 'uncertain and different from each other'), ('confidence', 'lowest confidence first'), ('disagreement', 'disagreement of two models'), ('diversity', 'least similar to labeled documents'), ('random', 'random order')], default='', max_length=12)),
                    ('order_control', models.FloatField(default=0.2, help_text='share of the places that are drawn at random, 0 to 1; see labeling.queue_order')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('order_run', models.ForeignKey(blank=True, help_text='the computation of the order that is in effect; empty: import order', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='labeling.queueorderrun')),
                ],
            ),
            migrations.CreateModel(
                name='Annotation',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('value', slmstudio.database.fields.ExactJSONField(default=dict)),
                    ('evidence', models.JSONField(blank=True, default=dict, help_text='field path -> {start, end}')),
                    ('valid', models.BooleanField(default=False)),
                    ('submitted', models.BooleanField(default=False)),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], default='human', max_length=12)),
                    ('version', models.PositiveIntegerField(default=0)),
                    ('seconds', models.FloatField(default=0, help_text='seconds with the document open')),
                    ('field_seconds', models.JSONField(blank=True, default=dict, help_text='field pattern -> seconds with the focus there')),
                    ('changed_fields', models.PositiveSmallIntegerField(blank=True, help_text='at submit: leaves that differ from the newest prediction, shown or withheld', null=True)),
                    ('predicted_fields', models.PositiveSmallIntegerField(blank=True, help_text='at submit: leaves of the prediction or the label', null=True)),
                    ('submitted_at', models.DateTimeField(blank=True, help_text='time of the last submit', null=True)),
                    ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='annotations', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='annotations', to='labeling.document')),
                    ('prediction', models.ForeignKey(blank=True, help_text='the pre-label that the form was filled with', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='annotations', to='labeling.prediction')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='annotations', to='labeling.schemaversion')),
                ],
                options={
                    'indexes': [models.Index(condition=models.Q(('submitted_at__isnull', False)), fields=['project', 'submitted_at'], include=('user', 'seconds'), name='annotation_work'), models.Index(condition=models.Q(('submitted', False)), fields=['project', 'user', 'document'], name='annotation_unfinished'), models.Index(condition=models.Q(('user__isnull', False)), fields=['project', 'updated_at', 'document'], name='annotation_saved'), models.Index(condition=models.Q(('user__isnull', False)), fields=['project', 'seconds', 'document'], name='annotation_time'), models.Index(condition=models.Q(('predicted_fields__isnull', False)), fields=['project'], name='annotation_compared'), django.contrib.postgres.indexes.GinIndex(fields=['value'], name='annotation_fields', opclasses=['jsonb_path_ops'])],
                    'constraints': [models.UniqueConstraint(fields=('document', 'schema_version', 'user'), name='annotation_once', nulls_distinct=False)],
                },
            ),
            migrations.CreateModel(
                name='AnnotationRevision',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('action', models.CharField(choices=[('draft', 'draft saved'), ('submit', 'submitted'), ('import', 'imported'), ('approve', 'approved'), ('adjudicate', 'adjudicated'), ('restore', 'restored'), ('migrate', 'migrated to another schema')], max_length=12)),
                    ('value', slmstudio.database.fields.ExactJSONField()),
                    ('evidence', models.JSONField(blank=True, default=dict)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('annotation', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='revisions', to='labeling.annotation')),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('annotation', 'number'), name='revision_number_once')],
                },
            ),
            migrations.CreateModel(
                name='DatasetVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('instruction', models.TextField()),
                    ('seed', models.PositiveIntegerField()),
                    ('rules', models.JSONField(blank=True, default=dict, help_text='labeling.datasets.freeze_rules.Rules and the shares of the splits')),
                    ('sha256', models.CharField(max_length=64)),
                    ('holdout_sha256', models.CharField(help_text='of the hold-out rows', max_length=64)),
                    ('artifact_key', models.CharField(max_length=300)),
                    ('counts', models.JSONField(default=dict, help_text='see labeling.datasets.queries')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='datasets', to='labeling.project')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='datasets', to='labeling.schemaversion')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='dataset_number_once')],
                },
            ),
            migrations.CreateModel(
                name='DocumentScore',
                fields=[
                    ('document', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='last_score', serialize=False, to='labeling.document')),
                    ('score', models.FloatField(help_text='from 0 to 1')),
                    ('wrong_fields', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), blank=True, default=list, size=None)),
                    ('source', models.CharField(help_text='the name of the evaluation', max_length=120)),
                    ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'score', 'document'], name='score_project')],
                },
            ),
            migrations.CreateModel(
                name='DocumentSearch',
                fields=[
                    ('document', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='search', serialize=False, to='labeling.document')),
                    ('content', models.TextField()),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'document'], name='search_project'), django.contrib.postgres.indexes.GinIndex(fields=['content'], name='search_trigrams', opclasses=['gin_trgm_ops'])],
                },
            ),
            migrations.CreateModel(
                name='DatasetItem',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('split', models.CharField(choices=[('train', 'train'), ('validation', 'validation'), ('holdout', 'hold-out')], max_length=10)),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], max_length=12)),
                    ('family', models.BigIntegerField(blank=True, null=True)),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('dataset', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='labeling.datasetversion')),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='dataset_items', to='labeling.document')),
                ],
                options={
                    'indexes': [models.Index(fields=['dataset', 'split'], name='dataset_split')],
                    'constraints': [models.UniqueConstraint(fields=('dataset', 'document'), name='dataset_document_once')],
                },
            ),
            migrations.CreateModel(
                name='Comment',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('path', models.CharField(blank=True, max_length=300)),
                    ('text', models.TextField()),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('resolved_at', models.DateTimeField(blank=True, null=True)),
                    ('resolved_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='comments', to='labeling.document')),
                ],
                options={
                    'indexes': [models.Index(fields=['document', 'id'], name='comment_document')],
                },
            ),
            migrations.CreateModel(
                name='Mention',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('read_at', models.DateTimeField(blank=True, null=True)),
                    ('comment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mentions', to='labeling.comment')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mentions', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('comment', 'user'), name='mention_once')],
                },
            ),
            migrations.CreateModel(
                name='Page',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveSmallIntegerField()),
                    ('image_key', models.CharField(blank=True, help_text='in the artifact store; empty: no image, only boxes', max_length=300)),
                    ('width', models.PositiveIntegerField()),
                    ('height', models.PositiveIntegerField()),
                    ('start', models.PositiveIntegerField()),
                    ('end', models.PositiveIntegerField()),
                    ('lines', models.JSONField(blank=True, default=list)),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pages', to='labeling.document')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('document', 'number'), name='page_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Prediction',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('value', slmstudio.database.fields.ExactJSONField(null=True)),
                    ('valid', models.BooleanField(default=False)),
                    ('confidence', models.JSONField(blank=True, default=dict)),
                    ('withheld', models.BooleanField(default=False)),
                    ('raw', models.TextField(blank=True, help_text='the output, if it is not JSON')),
                    ('model', models.CharField(help_text='the name of the model', max_length=200)),
                    ('source', models.CharField(help_text='the run that created it, for example prelabel-3', max_length=200)),
                    ('seconds', models.FloatField(default=0, help_text='latency of the model')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='predictions', to='labeling.document')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                ],
                options={
                    'indexes': [models.Index(fields=['document', '-id'], name='prediction_newest')],
                    'constraints': [models.UniqueConstraint(fields=('document', 'source'), name='prediction_once')],
                },
            ),
            migrations.CreateModel(
                name='Preferences',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('keys', models.JSONField(blank=True, default=dict)),
                    ('exceptions_only', models.BooleanField(default=True, help_text='in a pre-filled form, Tab visits only fields that need attention')),
                    ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='preferences', to=settings.AUTH_USER_MODEL)),
                ],
            ),
            migrations.CreateModel(
                name='Presence',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('tab', models.CharField(blank=True, max_length=64)),
                    ('seen_at', models.DateTimeField()),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.document')),
                    ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('user', 'tab'), name='presence_tab_once')],
                },
            ),
            migrations.CreateModel(
                name='Membership',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('role', models.CharField(choices=[('annotator', 'annotator'), ('reviewer', 'reviewer'), ('engineer', 'engineer'), ('manager', 'manager'), ('owner', 'owner')], max_length=10)),
                    ('role_since', models.DateTimeField(default=django.utils.timezone.now, help_text='when the role was given; empty: before this was recorded', null=True)),
                    ('role_given_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'user'), name='one_role_per_project')],
                },
            ),
            migrations.CreateModel(
                name='IndexRun',
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
                    ('indexed', models.PositiveIntegerField(default=0, help_text='documents that this run indexed')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='index_runs', to='labeling.project')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='ImportRun',
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
                    ('file_name', models.CharField(max_length=200)),
                    ('upload_key', models.CharField(max_length=300)),
                    ('kind', models.CharField(default='jsonl', max_length=20)),
                    ('options', models.JSONField(blank=True, default=dict)),
                    ('encoding', models.CharField(blank=True, help_text='text encoding, detected or chosen; several are separated by commas', max_length=120)),
                    ('as_holdout', models.BooleanField(default=False)),
                    ('synthetic', models.BooleanField(default=False)),
                    ('imported', models.PositiveIntegerField(default=0)),
                    ('duplicates', models.PositiveIntegerField(default=0)),
                    ('rejected', models.PositiveIntegerField(default=0)),
                    ('attempts', models.PositiveSmallIntegerField(default=0, help_text='how often a worker has claimed it')),
                    ('rejects_key', models.CharField(blank=True, max_length=300)),
                    ('rejects', models.JSONField(blank=True, default=list, help_text='the first 100: {row, id, reason}')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='imports', to='labeling.project')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='FreezeRun',
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
                    ('knobs', models.JSONField(default=dict)),
                    ('unchanged', models.BooleanField(default=False)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('dataset', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.datasetversion')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='freezes', to='labeling.project')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='Contract',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('instruction', models.TextField()),
                    ('constraints', models.JSONField(blank=True, default=dict)),
                    ('updated_at', models.DateTimeField(auto_now=True)),
                    ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='contract', to='labeling.project')),
                ],
            ),
            migrations.CreateModel(
                name='BulkEdit',
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
                    ('action', models.CharField(choices=[('assign', 'assign'), ('tag', 'add tags'), ('untag', 'remove tags'), ('holdout', 'move to the hold-out'), ('train', 'move out of the hold-out'), ('requeue', 'requeue'), ('overlap', 'set overlap'), ('undo', 'undo')], max_length=10)),
                    ('filters', models.JSONField(default=dict)),
                    ('params', models.JSONField(blank=True, default=dict)),
                    ('changed', models.PositiveIntegerField(default=0)),
                    ('left_alone', models.PositiveIntegerField(default=0, help_text='documents that cannot be changed this way')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bulk_edits', to='labeling.project')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='ApiToken',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=80)),
                    ('prefix', models.CharField(help_text='its first characters, to identify it', max_length=12)),
                    ('sha256', models.CharField(max_length=64, unique=True)),
                    ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), size=None)),
                    ('expires_at', models.DateTimeField(blank=True, null=True)),
                    ('last_used_at', models.DateTimeField(blank=True, null=True)),
                    ('revoked_at', models.DateTimeField(blank=True, null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to='labeling.project')),
                ],
            ),
            migrations.CreateModel(
                name='QueueOrderRun',
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
                    ('method', models.CharField(choices=[('', 'import order'), ('combined', 'uncertain and different from each other'), ('confidence', 'lowest confidence first'), ('disagreement', 'disagreement of two models'), ('diversity', 'least similar to labeled documents'), ('random', 'random order')], max_length=12)),
                    ('control_share', models.FloatField()),
                    ('seed', models.PositiveIntegerField(default=17)),
                    ('facts', models.JSONField(blank=True, default=dict)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='order_runs', to='labeling.project')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='DocumentPlace',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('place', models.PositiveIntegerField()),
                    ('chosen', models.BooleanField()),
                    ('signal', models.FloatField()),
                    ('open', models.BooleanField(default=True)),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='places', to='labeling.document')),
                    ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='places', to='labeling.queueorderrun')),
                ],
                options={
                    'indexes': [models.Index(condition=models.Q(('open', True)), fields=['run', 'place'], name='place_open')],
                    'constraints': [models.UniqueConstraint(fields=('run', 'document'), name='place_document_once')],
                },
            ),
            migrations.CreateModel(
                name='Review',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('decision', models.CharField(choices=[('approve', 'approved'), ('fix', 'fixed and approved'), ('reject', 'rejected'), ('adjudicate', 'adjudicated')], max_length=10)),
                    ('reason', models.CharField(blank=True, help_text='reason of a rejection; shown to the annotator', max_length=1000)),
                    ('replaced_gold', models.JSONField(help_text='to undo an approval: the gold label before it, {} for none; null: it cannot be undone', null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('annotation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reviews', to='labeling.annotation')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='reviews', to='labeling.document')),
                    ('reviewer', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                ],
                options={
                    'indexes': [models.Index(fields=['document', '-id'], name='review_newest'), models.Index(fields=['reviewer', 'created_at'], name='review_by_time')],
                },
            ),
            migrations.CreateModel(
                name='SavedView',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=60)),
                    ('query', models.CharField(blank=True, max_length=2000)),
                    ('shared', models.BooleanField(default=False, help_text='all members see it')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='views', to='labeling.project')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'user', 'name'), name='view_name_once')],
                },
            ),
            migrations.CreateModel(
                name='SchemaVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('schema_text', models.TextField(help_text="the schema as compact JSON, in the author's property order")),
                    ('source_text', models.TextField(blank=True, default='', help_text='the schema as it was pasted; empty if it was not translated')),
                    ('sha256', models.CharField(max_length=64)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='schema_versions', to='labeling.project')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='schema_number_once')],
                },
            ),
            migrations.CreateModel(
                name='SchemaMigration',
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
                    ('schema_text', models.TextField()),
                    ('source_text', models.TextField(blank=True, default='', help_text='the schema as it was pasted; empty if it was not translated')),
                    ('mapping', models.JSONField(blank=True, default=list)),
                    ('dry_run', models.BooleanField(default=True)),
                    ('result', models.JSONField(blank=True, default=dict)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='migrations', to='labeling.project')),
                    ('from_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                    ('to_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='Gold',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], max_length=12)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('approved_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='golds', to='labeling.document')),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='golds', to='labeling.schemaversion')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('document', 'schema_version'), name='gold_once')],
                },
            ),
            migrations.CreateModel(
                name='SilverItem',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('model', models.CharField(help_text='the name of the model that labeled it', max_length=200)),
                    ('dataset', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='silver_items', to='labeling.datasetversion')),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='silver_items', to='labeling.document')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('dataset', 'document'), name='silver_document_once')],
                },
            ),
            migrations.CreateModel(
                name='Webhook',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('url', models.URLField(max_length=500)),
                    ('events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), size=None)),
                    ('salt', models.CharField(max_length=64)),
                    ('active', models.BooleanField(default=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='labeling.project')),
                ],
            ),
            migrations.CreateModel(
                name='WebhookDelivery',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('event', models.CharField(max_length=40)),
                    ('payload', models.JSONField()),
                    ('status', models.CharField(choices=[('waiting', 'pending'), ('delivered', 'delivered'), ('given_up', 'failed')], default='waiting', max_length=10)),
                    ('attempts', models.PositiveSmallIntegerField(default=0)),
                    ('next_attempt_at', models.DateTimeField(blank=True, null=True)),
                    ('response_code', models.PositiveSmallIntegerField(blank=True, null=True)),
                    ('error', models.CharField(blank=True, max_length=300)),
                    ('milliseconds', models.PositiveIntegerField(blank=True, null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('delivered_at', models.DateTimeField(blank=True, null=True)),
                    ('webhook', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='labeling.webhook')),
                ],
                options={
                    'indexes': [models.Index(fields=['webhook', '-id'], name='delivery_log'), models.Index(condition=models.Q(('status', 'waiting')), fields=['next_attempt_at'], name='delivery_due')],
                },
            ),
        ]),
        migrations.RunSQL(FREEZE, "DROP FUNCTION labeling_refuse_change() CASCADE;"),
        migrations.RunSQL(PLACES, "DROP FUNCTION labeling_update_place() CASCADE;"),
        migrations.RunSQL(STATISTICS, "DROP STATISTICS document_mix;"),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
    ]
