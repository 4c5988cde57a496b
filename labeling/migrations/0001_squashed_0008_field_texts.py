"""The tables of labeling for a new database, in one step; an older database runs 0001 to 0008.

A new database has no rows, so the steps that fill or correct rows are not here. Other SQL is that of the old migrations.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.utils.timezone
import slmstudio.database.fields
import uuid
from django.conf import settings
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models
from importlib import import_module
from slmstudio.database.operations import CreateModels

frozen_rows = import_module('labeling.migrations.0002_frozen_rows')


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
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        TrigramExtension(),
        CreateModels([
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
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
            ),
            migrations.CreateModel(
                name='Membership',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='labeling.project')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                    ('role', models.CharField(choices=[('annotator', 'annotator'), ('reviewer', 'reviewer'), ('engineer', 'engineer'), ('manager', 'manager'), ('owner', 'owner')], max_length=10)),
                    ('role_since', models.DateTimeField(default=django.utils.timezone.now, help_text='when the role was given; empty: before this was recorded', null=True)),
                    ('role_given_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'user'), name='one_role_per_project')],
                },
            ),
            migrations.CreateModel(
                name='Contract',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='contract', to='labeling.project')),
                    ('instruction', models.TextField()),
                    ('constraints', models.JSONField(blank=True, default=dict)),
                    ('updated_at', models.DateTimeField(auto_now=True)),
                ],
            ),
            migrations.CreateModel(
                name='SchemaVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='schema_versions', to='labeling.project')),
                    ('number', models.PositiveIntegerField()),
                    ('schema_text', models.TextField(help_text="the schema as compact JSON, in the author's property order")),
                    ('sha256', models.CharField(max_length=64)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='schema_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Document',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='documents', to='labeling.project')),
                    ('external_id', models.CharField(max_length=200)),
                    ('text', models.TextField()),
                    ('sha256', models.CharField(help_text='of the text; unique in a project', max_length=64)),
                    ('source', models.CharField(blank=True, max_length=200)),
                    ('metadata', slmstudio.database.fields.ExactJSONField(blank=True, default=dict)),
                    ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), blank=True, default=list, help_text='failure tags', size=None)),
                    ('state', models.CharField(choices=[('new', 'new'), ('in_progress', 'in progress'), ('submitted', 'submitted'), ('approved', 'approved'), ('rejected', 'rejected'), ('skipped', 'skipped')], default='new', max_length=12)),
                    ('holdout', models.BooleanField(default=False, help_text='in the hold-out; permanent once a dataset version has it')),
                    ('synthetic', models.BooleanField(default=False)),
                    ('locked_by', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('locked_until', models.DateTimeField(blank=True, null=True)),
                    ('assigned_to', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('wanted', models.PositiveSmallIntegerField(default=1, help_text='overlap: number of annotators who label it independently')),
                    ('disputed', models.BooleanField(db_default=False, default=False, help_text='its annotations conflict; it waits for adjudication')),
                    ('page_count', models.PositiveSmallIntegerField(default=0, help_text='pages with an image; 0 for plain text')),
                    ('skip_reason', models.CharField(blank=True, max_length=300)),
                    ('returned', models.JSONField(blank=True, help_text='while it is requeued for a schema version: the number of that version, the reason, and the former state and disputed', null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'id'], name='document_list'), models.Index(fields=['project', 'state', 'id'], name='document_state'), models.Index(condition=models.Q(('holdout', True)), fields=['project', 'id'], name='document_holdout'), models.Index(condition=models.Q(('assigned_to__isnull', False)), fields=['project', 'assigned_to', 'id'], name='document_assigned'), models.Index(condition=models.Q(('disputed', True)), fields=['project', 'id'], name='document_disputed'), models.Index(condition=models.Q(('assigned_to__isnull', True), ('state__in', ['new', 'in_progress', 'rejected'])), fields=['project', 'id'], name='document_open'), models.Index(condition=models.Q(('assigned_to__isnull', False), ('state__in', ['new', 'in_progress', 'rejected'])), fields=['project', 'assigned_to', 'id'], name='document_mine'), models.Index(condition=models.Q(('wanted__gt', 1)), fields=['project', 'id'], name='document_overlap'), models.Index(fields=['project', 'source', 'id'], name='document_source'), models.Index(condition=models.Q(('synthetic', True)), fields=['project', 'id'], name='document_synthetic'), django.contrib.postgres.indexes.GinIndex(fields=['tags'], name='document_tags')],
                    'constraints': [models.UniqueConstraint(fields=('project', 'sha256'), name='document_text_once'), models.UniqueConstraint(fields=('project', 'external_id'), name='document_id_once')],
                },
            ),
            migrations.CreateModel(
                name='Page',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pages', to='labeling.document')),
                    ('number', models.PositiveSmallIntegerField()),
                    ('image_key', models.CharField(blank=True, help_text='in the artifact store; empty: no image, only boxes', max_length=300)),
                    ('width', models.PositiveIntegerField()),
                    ('height', models.PositiveIntegerField()),
                    ('start', models.PositiveIntegerField()),
                    ('end', models.PositiveIntegerField()),
                    ('lines', models.JSONField(blank=True, default=list)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('document', 'number'), name='page_number_once')],
                },
            ),
            migrations.CreateModel(
                name='DocumentSearch',
                fields=[
                    ('document', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='search', serialize=False, to='labeling.document')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('content', models.TextField()),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'document'], name='search_project'), django.contrib.postgres.indexes.GinIndex(fields=['content'], name='search_trigrams', opclasses=['gin_trgm_ops'])],
                },
            ),
            migrations.CreateModel(
                name='DocumentScore',
                fields=[
                    ('document', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='last_score', serialize=False, to='labeling.document')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('score', models.FloatField(help_text='from 0 to 1')),
                    ('wrong_fields', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), blank=True, default=list, size=None)),
                    ('source', models.CharField(help_text='the name of the evaluation', max_length=120)),
                    ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'indexes': [models.Index(fields=['project', 'score', 'document'], name='score_project')],
                },
            ),
            migrations.CreateModel(
                name='Prediction',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='predictions', to='labeling.document')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                    ('value', slmstudio.database.fields.ExactJSONField(null=True)),
                    ('valid', models.BooleanField(default=False)),
                    ('confidence', models.JSONField(blank=True, default=dict)),
                    ('withheld', models.BooleanField(default=False)),
                    ('raw', models.TextField(blank=True, help_text='the output, if it is not JSON')),
                    ('model', models.CharField(help_text='the name of the model', max_length=200)),
                    ('source', models.CharField(help_text='the run that created it, for example prelabel-3', max_length=200)),
                    ('seconds', models.FloatField(default=0, help_text='latency of the model')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'indexes': [models.Index(fields=['document', '-id'], name='prediction_newest')],
                    'constraints': [models.UniqueConstraint(fields=('document', 'source'), name='prediction_once')],
                },
            ),
            migrations.CreateModel(
                name='Annotation',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='annotations', to='labeling.document')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='annotations', to='labeling.schemaversion')),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='annotations', to=settings.AUTH_USER_MODEL)),
                    ('value', slmstudio.database.fields.ExactJSONField(default=dict)),
                    ('evidence', models.JSONField(blank=True, default=dict, help_text='field path -> {start, end}')),
                    ('valid', models.BooleanField(default=False)),
                    ('submitted', models.BooleanField(default=False)),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], default='human', max_length=12)),
                    ('version', models.PositiveIntegerField(default=0)),
                    ('seconds', models.FloatField(default=0, help_text='seconds with the document open')),
                    ('field_seconds', models.JSONField(blank=True, default=dict, help_text='field pattern -> seconds with the focus there')),
                    ('prediction', models.ForeignKey(blank=True, help_text='the pre-label that the form was filled with', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='annotations', to='labeling.prediction')),
                    ('changed_fields', models.PositiveSmallIntegerField(blank=True, help_text='at submit: leaves that differ from the newest prediction, shown or withheld', null=True)),
                    ('predicted_fields', models.PositiveSmallIntegerField(blank=True, help_text='at submit: leaves of the prediction or the label', null=True)),
                    ('submitted_at', models.DateTimeField(blank=True, help_text='time of the last submit', null=True)),
                    ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
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
                    ('annotation', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='revisions', to='labeling.annotation')),
                    ('number', models.PositiveIntegerField()),
                    ('action', models.CharField(choices=[('draft', 'draft saved'), ('submit', 'submitted'), ('import', 'imported'), ('approve', 'approved'), ('adjudicate', 'adjudicated'), ('restore', 'restored'), ('migrate', 'migrated to another schema')], max_length=12)),
                    ('value', slmstudio.database.fields.ExactJSONField()),
                    ('evidence', models.JSONField(blank=True, default=dict)),
                    ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('annotation', 'number'), name='revision_number_once')],
                },
            ),
            migrations.CreateModel(
                name='Gold',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='golds', to='labeling.document')),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='golds', to='labeling.schemaversion')),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], max_length=12)),
                    ('approved_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('document', 'schema_version'), name='gold_once')],
                },
            ),
            migrations.CreateModel(
                name='DatasetVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='datasets', to='labeling.project')),
                    ('number', models.PositiveIntegerField()),
                    ('schema_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='datasets', to='labeling.schemaversion')),
                    ('instruction', models.TextField()),
                    ('seed', models.PositiveIntegerField()),
                    ('rules', models.JSONField(blank=True, default=dict, help_text='labeling.datasets.freeze_rules.Rules and the shares of the splits')),
                    ('sha256', models.CharField(max_length=64)),
                    ('holdout_sha256', models.CharField(help_text='of the hold-out rows', max_length=64)),
                    ('artifact_key', models.CharField(max_length=300)),
                    ('counts', models.JSONField(default=dict, help_text='see labeling.datasets.queries')),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='dataset_number_once')],
                },
            ),
            migrations.CreateModel(
                name='DatasetItem',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('dataset', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='labeling.datasetversion')),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='dataset_items', to='labeling.document')),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('split', models.CharField(choices=[('train', 'train'), ('validation', 'validation'), ('holdout', 'hold-out')], max_length=10)),
                    ('origin', models.CharField(choices=[('human', 'human'), ('prelabelled', 'pre-labeled'), ('imported', 'imported'), ('synthetic', 'synthetic')], max_length=12)),
                ],
                options={
                    'indexes': [models.Index(fields=['dataset', 'split'], name='dataset_split')],
                    'constraints': [models.UniqueConstraint(fields=('dataset', 'document'), name='dataset_document_once')],
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
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='freezes', to='labeling.project')),
                    ('knobs', models.JSONField(default=dict)),
                    ('dataset', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.datasetversion')),
                    ('unchanged', models.BooleanField(default=False)),
                ],
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
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='imports', to='labeling.project')),
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
                    ('rejects_key', models.CharField(blank=True, max_length=300)),
                    ('rejects', models.JSONField(blank=True, default=list, help_text='the first 100: {row, id, reason}')),
                ],
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
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='index_runs', to='labeling.project')),
                    ('indexed', models.PositiveIntegerField(default=0, help_text='documents that this run indexed')),
                ],
            ),
            migrations.CreateModel(
                name='ApiToken',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to='labeling.project')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('name', models.CharField(max_length=80)),
                    ('prefix', models.CharField(help_text='its first characters, to identify it', max_length=12)),
                    ('sha256', models.CharField(max_length=64, unique=True)),
                    ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), size=None)),
                    ('expires_at', models.DateTimeField(blank=True, null=True)),
                    ('last_used_at', models.DateTimeField(blank=True, null=True)),
                    ('revoked_at', models.DateTimeField(blank=True, null=True)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
            ),
            migrations.CreateModel(
                name='Webhook',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='labeling.project')),
                    ('url', models.URLField(max_length=500)),
                    ('events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), size=None)),
                    ('salt', models.CharField(max_length=32)),
                    ('active', models.BooleanField(default=True)),
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
            ),
            migrations.CreateModel(
                name='WebhookDelivery',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('webhook', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='labeling.webhook')),
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
                ],
                options={
                    'indexes': [models.Index(fields=['webhook', '-id'], name='delivery_log'), models.Index(condition=models.Q(('status', 'waiting')), fields=['next_attempt_at'], name='delivery_due')],
                },
            ),
            migrations.CreateModel(
                name='Review',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='reviews', to='labeling.document')),
                    ('annotation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reviews', to='labeling.annotation')),
                    ('revision', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.annotationrevision')),
                    ('decision', models.CharField(choices=[('approve', 'approved'), ('fix', 'fixed and approved'), ('reject', 'rejected'), ('adjudicate', 'adjudicated')], max_length=10)),
                    ('reason', models.CharField(blank=True, help_text='reason of a rejection; shown to the annotator', max_length=1000)),
                    ('reviewer', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'indexes': [models.Index(fields=['document', '-id'], name='review_newest')],
                },
            ),
            migrations.CreateModel(
                name='Presence',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('tab', models.CharField(blank=True, max_length=64)),
                    ('document', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.document')),
                    ('seen_at', models.DateTimeField()),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('user', 'tab'), name='presence_tab_once')],
                },
            ),
            migrations.CreateModel(
                name='Comment',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('document', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='comments', to='labeling.document')),
                    ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('path', models.CharField(blank=True, max_length=300)),
                    ('text', models.TextField()),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('resolved_at', models.DateTimeField(blank=True, null=True)),
                    ('resolved_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'indexes': [models.Index(fields=['document', 'id'], name='comment_document')],
                },
            ),
            migrations.CreateModel(
                name='Mention',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('comment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mentions', to='labeling.comment')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mentions', to=settings.AUTH_USER_MODEL)),
                    ('read_at', models.DateTimeField(blank=True, null=True)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('comment', 'user'), name='mention_once')],
                },
            ),
            migrations.CreateModel(
                name='SavedView',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='views', to='labeling.project')),
                    ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('name', models.CharField(max_length=60)),
                    ('query', models.CharField(blank=True, max_length=2000)),
                    ('shared', models.BooleanField(default=False, help_text='all members see it')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'user', 'name'), name='view_name_once')],
                },
            ),
            migrations.CreateModel(
                name='Preferences',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='preferences', to=settings.AUTH_USER_MODEL)),
                    ('keys', models.JSONField(blank=True, default=dict)),
                    ('exceptions_only', models.BooleanField(default=True, help_text='in a pre-filled form, Tab visits only fields that need attention')),
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
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bulk_edits', to='labeling.project')),
                    ('action', models.CharField(choices=[('assign', 'assign'), ('tag', 'add tags'), ('untag', 'remove tags'), ('holdout', 'move to the hold-out'), ('train', 'move out of the hold-out'), ('requeue', 'requeue'), ('overlap', 'set overlap'), ('undo', 'undo')], max_length=10)),
                    ('filters', models.JSONField(default=dict)),
                    ('params', models.JSONField(blank=True, default=dict)),
                    ('changed', models.PositiveIntegerField(default=0)),
                    ('left_alone', models.PositiveIntegerField(default=0, help_text='documents that cannot be changed this way')),
                ],
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
                    ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                    ('started_at', models.DateTimeField(blank=True, null=True)),
                    ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='migrations', to='labeling.project')),
                    ('from_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                    ('to_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.schemaversion')),
                    ('schema_text', models.TextField()),
                    ('mapping', models.JSONField(blank=True, default=list)),
                    ('dry_run', models.BooleanField(default=True)),
                    ('result', models.JSONField(blank=True, default=dict)),
                ],
            ),
        ]),
        # How often a state occurs in each project: without it the planner, and so an approximate count, assumes the average
        # of all projects.
        migrations.RunSQL(
            'CREATE STATISTICS document_mix (mcv) ON project_id, state, holdout, synthetic FROM labeling_document;',
            'DROP STATISTICS document_mix;',
        ),
        # Texts of a few pages stay in their row uncompressed: the document list reads hundreds of them one by one, and
        # reading them compressed or out of line takes three times as long.
        migrations.RunSQL(
            'ALTER TABLE labeling_documentsearch SET (toast_tuple_target = 8160);',
            'ALTER TABLE labeling_documentsearch RESET (toast_tuple_target);',
        ),
        *frozen_rows.Migration.operations,
    ]
