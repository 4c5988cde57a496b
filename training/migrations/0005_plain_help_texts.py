"""Texts of the administration only; no change in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0004_modelpull"),
    ]

    operations = [
        migrations.AlterField(
            model_name="basemodel",
            name="architecture",
            field=models.CharField(blank=True, help_text="class named in config.json", max_length=80),
        ),
        migrations.AlterField(
            model_name="basemodel",
            name="folder",
            field=models.CharField(blank=True, help_text="prepared model folder; empty until prepared", max_length=300),
        ),
        migrations.AlterField(
            model_name="basemodel",
            name="reference",
            field=models.CharField(blank=True, help_text="hub id", max_length=200),
        ),
        migrations.AlterField(
            model_name="basemodel",
            name="revision",
            field=models.CharField(blank=True, help_text="commit on the hub", max_length=64),
        ),
        migrations.AlterField(
            model_name="basemodel",
            name="shape",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="layers, widths and heads; see training.model_shape.ModelShape",
            ),
        ),
        migrations.AlterField(
            model_name="lengthreport",
            name="longest",
            field=models.PositiveIntegerField(
                default=0, help_text="tokens of the longest prompt with its completion, without the hold-out"
            ),
        ),
        migrations.AlterField(
            model_name="modelexport",
            name="folder_key",
            field=models.CharField(blank=True, help_text="in the artifact store; empty until created", max_length=300),
        ),
        migrations.AlterField(
            model_name="modelexport",
            name="parity",
            field=models.JSONField(
                blank=True, default=dict, help_text="result of the parity check; see training.ml.llama_cpp.parity"
            ),
        ),
        migrations.AlterField(
            model_name="specexport",
            name="folder_key",
            field=models.CharField(blank=True, help_text="in the artifact store; empty until created", max_length=300),
        ),
        migrations.AlterField(
            model_name="specexport",
            name="validation",
            field=models.JSONField(blank=True, default=dict, help_text="result of loading it with the trainer itself"),
        ),
        migrations.AlterField(
            model_name="trainingevent",
            name="key",
            field=models.CharField(blank=True, help_text="distinguishes several warnings at one step", max_length=16),
        ),
        migrations.AlterField(
            model_name="trainingrun",
            name="attempts",
            field=models.PositiveSmallIntegerField(default=0, help_text="how often a worker has claimed it"),
        ),
        migrations.AlterField(
            model_name="trainingrun",
            name="estimate",
            field=models.JSONField(
                blank=True, default=dict, help_text="estimate before the start; see training.estimates.estimate"
            ),
        ),
        migrations.AlterField(
            model_name="trainingrun",
            name="facts",
            field=models.JSONField(blank=True, default=dict, help_text="values of the trainer's events start and done"),
        ),
    ]
