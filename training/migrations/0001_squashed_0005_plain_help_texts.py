"""The tables of training for a new database, in one step; an older database runs 0001 to 0005."""

import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models
from slmstudio.database.operations import CreateModels


class Migration(migrations.Migration):

    replaces = [
        ('training', '0001_initial'),
        ('training', '0002_shapes_and_checkpoints'),
        ('training', '0003_exports'),
        ('training', '0004_modelpull'),
        ('training', '0005_plain_help_texts'),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('labeling', '0001_squashed_0008_field_texts'),
    ]

    operations = [
        CreateModels([
            migrations.CreateModel(
                name='BaseModel',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('slug', models.SlugField(max_length=80, unique=True)),
                    ('name', models.CharField(max_length=120)),
                    ('source', models.CharField(choices=[('packaged', 'packaged'), ('folder', 'local folder'), ('hub', 'hub')], max_length=10)),
                    ('location', models.CharField(help_text='package name, folder or hub id', max_length=300)),
                    ('reference', models.CharField(blank=True, help_text='hub id', max_length=200)),
                    ('licence', models.CharField(blank=True, max_length=80)),
                    ('parameters', models.BigIntegerField(default=0)),
                    ('context', models.PositiveIntegerField(default=0, help_text='tokens')),
                    ('instruction_tuned', models.BooleanField(default=False)),
                    ('architecture', models.CharField(blank=True, help_text='class named in config.json', max_length=80)),
                    ('shape', models.JSONField(blank=True, default=dict, help_text='layers, widths and heads; see training.model_shape.ModelShape')),
                    ('size_bytes', models.BigIntegerField(default=0, help_text='of the prepared folder')),
                    ('revision', models.CharField(blank=True, help_text='commit on the hub', max_length=64)),
                    ('folder', models.CharField(blank=True, help_text='prepared model folder; empty until prepared', max_length=300)),
                    ('sha256', models.CharField(blank=True, help_text='of the prepared folder', max_length=64)),
                ],
            ),
            migrations.CreateModel(
                name='ModelPull',
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
                    ('base_model', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='pull', to='training.basemodel')),
                ],
            ),
            migrations.CreateModel(
                name='LengthReport',
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
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='length_reports', to='labeling.datasetversion')),
                    ('base_model', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='length_reports', to='training.basemodel')),
                    ('model_sha256', models.CharField(blank=True, help_text='of the base model it was measured with', max_length=64)),
                    ('longest', models.PositiveIntegerField(default=0, help_text='tokens of the longest prompt with its completion, without the hold-out')),
                    ('lengths', models.JSONField(default=list, help_text='[id, split, prompt tokens, completion tokens] per row')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('dataset', 'base_model'), name='length_report_once')],
                },
            ),
            migrations.CreateModel(
                name='TrainingRun',
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
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='training_runs', to='labeling.project')),
                    ('number', models.PositiveIntegerField()),
                    ('name', models.CharField(blank=True, max_length=120)),
                    ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='training_runs', to='labeling.datasetversion')),
                    ('base_model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='training_runs', to='training.basemodel')),
                    ('spec', models.TextField(help_text='the RunSpec as YAML')),
                    ('facts', models.JSONField(blank=True, default=dict, help_text="values of the trainer's events start and done")),
                    ('estimate', models.JSONField(blank=True, default=dict, help_text='estimate before the start; see training.estimates.estimate')),
                    ('checkpoint_step', models.PositiveIntegerField(default=0, help_text='step of the newest checkpoint, 0 without one')),
                    ('attempts', models.PositiveSmallIntegerField(default=0, help_text='how often a worker has claimed it')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='training_number_once')],
                },
            ),
            migrations.CreateModel(
                name='TrainingEvent',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='training.trainingrun')),
                    ('kind', models.CharField(choices=[('metrics', 'Metrics'), ('validation', 'Validation'), ('samples', 'Samples'), ('warning', 'Warning'), ('checkpoint', 'Checkpoint')], max_length=10)),
                    ('step', models.PositiveIntegerField()),
                    ('key', models.CharField(blank=True, help_text='distinguishes several warnings at one step', max_length=16)),
                    ('data', models.JSONField()),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('run', 'kind', 'step', 'key'), name='training_event_once')],
                },
            ),
            migrations.CreateModel(
                name='ModelVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='model_versions', to='labeling.project')),
                    ('number', models.PositiveIntegerField()),
                    ('training_run', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='model_version', to='training.trainingrun')),
                    ('folder_key', models.CharField(help_text='merged safetensors with tokenizer, in the artifact store', max_length=300)),
                    ('sha256', models.CharField(help_text='of the merged folder', max_length=64)),
                    ('tokenizer_sha256', models.CharField(blank=True, help_text='of its tokenizer.json', max_length=64)),
                    ('adapter_key', models.CharField(blank=True, max_length=300)),
                    ('adapter_sha256', models.CharField(blank=True, max_length=64)),
                    ('files', models.JSONField(default=list, help_text='{path, size, sha256} of the merged folder')),
                    ('adapter_files', models.JSONField(default=list, help_text="{path, size, sha256} of the adapter's folder")),
                    ('lineage', models.JSONField(default=dict, help_text='hashes of base model, dataset, schema and spec')),
                    ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='model_number_once')],
                },
            ),
            migrations.CreateModel(
                name='ModelExport',
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
                    ('folder_key', models.CharField(blank=True, help_text='in the artifact store; empty until created', max_length=300)),
                    ('sha256', models.CharField(blank=True, help_text='of the folder', max_length=64)),
                    ('files', models.JSONField(blank=True, default=list, help_text='{path, size, sha256} of the folder')),
                    ('model_version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exports', to='training.modelversion')),
                    ('kind', models.CharField(choices=[('f16', 'GGUF f16'), ('q8_0', 'GGUF q8_0')], max_length=10)),
                    ('parity', models.JSONField(blank=True, default=dict, help_text='result of the parity check; see training.ml.llama_cpp.parity')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('model_version', 'kind'), name='model_export_once')],
                },
            ),
            migrations.CreateModel(
                name='SpecExport',
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
                    ('folder_key', models.CharField(blank=True, help_text='in the artifact store; empty until created', max_length=300)),
                    ('sha256', models.CharField(blank=True, help_text='of the folder', max_length=64)),
                    ('files', models.JSONField(blank=True, default=list, help_text='{path, size, sha256} of the folder')),
                    ('training_run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='spec_exports', to='training.trainingrun')),
                    ('kind', models.CharField(choices=[('axolotl', 'Axolotl'), ('unsloth', 'Unsloth')], max_length=10)),
                    ('validation', models.JSONField(blank=True, default=dict, help_text='result of loading it with the trainer itself')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('training_run', 'kind'), name='spec_export_once')],
                },
            ),
        ]),
    ]
