"""Columns are called what the pages call them: hold-out evaluation, manifest, regression suite, evidence."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0003_studies")]

    operations = [
        migrations.RemoveConstraint("gatereport", "gate_report_once"),
        migrations.RenameField("gatereport", "look", "holdout_number"),
        migrations.RenameField("gatereport", "packet", "manifest"),
        migrations.RenameField("gatereport", "pins_sha256", "suite_sha256"),
        migrations.AddConstraint(
            "gatereport",
            models.UniqueConstraint(
                fields=["policy", "eval_run", "baseline", "production_run", "suite_sha256", "measurement"],
                name="gate_report_once",
                nulls_distinct=False,
            ),
        ),
        migrations.RenameField("approval", "packet_sha256", "manifest_sha256"),
        migrations.RenameField("prelabelitem", "looked_for", "evidence_needed"),
        migrations.RenameField("prelabelitem", "found", "evidence_found"),
    ]
