"""One sampling rate, one threshold, and calibrations by isotonic regression.

The review sample takes the place of the audit sample; its rate is as high as the audited share, or as the former minimum
a day was of the requests. The error budget counts documents; one in fields becomes as many documents as have so many
fields. The threshold is the highest of the former minimums, and the limit that kept the error budget. Calibrations are
fitted again from their records, which have the token probabilities.
"""

import random
from collections import defaultdict
from datetime import timedelta

import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models
from django.db.models import Sum
from django.utils import timezone

ENOUGH, FOLDS, ALPHA = 100, 5, 0.05
_PROBABILITY = [django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)]


# -- calibrations ----------------------------------------------------------------------------------------------------


def _key(pattern, is_null):
    return f"{pattern} null" if is_null else pattern


def _fit(samples, share=1.0):
    from sklearn.isotonic import IsotonicRegression

    groups = defaultdict(list)
    for _, pattern, raw, is_null, is_correct in samples:
        for name in {pattern, ""}:
            groups[_key(name, is_null)].append((raw, is_correct))
    fits = {}
    for key, rows in groups.items():
        right, number = sum(correct for _, correct in rows), len(rows)
        if key in ("", " null") or (number >= share * ENOUGH and 0 < right < number):
            regression = IsotonicRegression(y_min=1 / (number + 2), y_max=(number + 1) / (number + 2))
            regression.fit([raw for raw, _ in rows], [float(correct) for _, correct in rows])
            fits[key] = [list(map(float, regression.X_thresholds_)), list(map(float, regression.y_thresholds_))]
    return fits


def _probability(fits, pattern, raw, is_null):
    import numpy as np

    fit = fits.get(_key(pattern, is_null)) or fits.get(_key("", is_null))
    return raw if fit is None else float(np.interp(raw, *fit))


def _error(values):
    ordered = sorted(values)
    parts = [ordered[at * len(ordered) // 10 : (at + 1) * len(ordered) // 10] for at in range(10)]
    distance = sum(abs(sum(p for p, _ in part) - sum(ok for _, ok in part)) for part in parts)
    return distance / len(ordered) if ordered else 0.0


def _errors(rows):
    return {"raw": _error([(r[1], r[4]) for r in rows]), "calibrated": _error([(r[2], r[4]) for r in rows])}


def refit(apps, schema_editor):
    """Fits every calibration again."""
    for row in apps.get_model("serving", "PackageCalibration").objects.order_by("pk").iterator(chunk_size=10):
        samples = [
            (record[0], field[0], field[1], bool(field[3]), bool(field[4]))
            for record in row.records
            for field in record[5]
        ]
        names = list(dict.fromkeys(sample[0] for sample in samples))
        random.Random(17).shuffle(names)
        folds = {name: at % FOLDS for at, name in enumerate(names)}
        left_out = {}
        for fold in range(FOLDS):
            rest = [sample for sample in samples if folds[sample[0]] != fold]
            left_out[fold] = _fit(rest, len(rest) / len(samples)) if rest else {}
        row.fits = _fit(samples)
        by_pattern = defaultdict(list)
        for record in row.records:
            for field in record[5]:
                pattern, raw, is_null = field[0], field[1], bool(field[3])
                calibrated = _probability(left_out[folds[record[0]]], pattern, raw, is_null)
                served = _probability(row.fits, pattern, raw, is_null)
                field[:] = [pattern, raw, round(calibrated, 4), field[3], field[4], round(served, 4)]
                by_pattern[pattern].append(field)
        row.summary = {
            **{name: row.summary.get(name, 0) for name in ("values", "wrong", "invalid", "violations")},
            "error": _errors([field for fields in by_pattern.values() for field in fields]),
            "fields": {
                pattern: {
                    "samples": len(fields), "accuracy": sum(field[4] for field in fields) / len(fields),
                    "error": _errors(fields), "fit": "its own" if pattern in row.fits else "all fields",
                }
                for pattern, fields in by_pattern.items()
            },
        }  # fmt: skip
        row.save(update_fields=["fits", "records", "summary"])


# -- policies --------------------------------------------------------------------------------------------------------


def _limit(records, rate, basis):
    """The lowest confidence at which the automatic documents keep the budget; 1.0 where none does."""
    from scipy.stats import beta

    usable = [record for record in records if record[1] and record[2] and record[5]]
    confidences = sorted(((min(field[5] for field in record[5]), record[3] > 0) for record in usable), reverse=True)
    best, wrong = 1.0, 0
    for at, (confidence, is_wrong) in enumerate(confidences, start=1):
        wrong += is_wrong
        if at < len(confidences) and confidences[at][0] == confidence:
            continue
        if basis == "expected":
            best = confidence if wrong / at <= rate else best
        elif wrong < at and beta.ppf(1 - ALPHA, wrong + 1, at - wrong) <= rate:
            best = confidence
        elif best < 1.0:
            break
    return best


def one_threshold(apps, schema_editor):
    """One threshold for each policy, a budget in documents, and one sampling rate."""
    model = apps.get_model
    calibrations = model("serving", "PackageCalibration").objects
    for row in model("serving", "AnswerPolicy").objects.select_related("deployment__stable"):
        minimums = [row.min_confidence, *row.field_confidence.values()]
        if row.budget_wrong is None:
            row.rest = "fallback"
        else:
            stable = row.deployment.stable
            known = calibrations.filter(package=stable.package_id, variant__in=("", stable.variant)) if stable else None
            calibration = known.order_by("-variant").first() if known is not None else None
            records = calibration.records if calibration is not None else []
            counted = [record[4] for record in records if record[1]]
            if row.budget_unit == "field" and sum(counted):
                fields = sum(counted) / len(counted)
                row.budget_of = max(row.budget_wrong + 1, round(row.budget_of / fields))
            minimums.append(_limit(records, row.budget_wrong / row.budget_of, row.basis))
            plans = model("serving", "SamplePlan").objects.filter(deployment=row.deployment)
            plans.filter(share__lt=row.audit_share).update(share=row.audit_share)
        row.min_confidence = max((value for value in minimums if value is not None), default=None)
        row.save(update_fields=["rest", "budget_of", "min_confidence"])


def one_rate(apps, schema_editor):
    """The sampling rate is at least what the former minimum a day was of the answers of the last weeks."""
    since = timezone.now().date() - timedelta(days=28)
    for plan in apps.get_model("serving", "SamplePlan").objects.select_related("deployment"):
        days = apps.get_model("serving", "SampleDay").objects.filter(project=plan.deployment.project_id, day__gte=since)
        number = days.values("day").distinct().count()
        answered = days.aggregate(total=Sum("answered"))["total"] or 0
        if number and answered:
            plan.share = max(plan.share, min(1.0, plan.per_day * number / answered))
            plan.save(update_fields=["share"])


class Migration(migrations.Migration):
    dependencies = [("serving", "0004_plain_labels")]

    operations = [
        migrations.AddField(
            "draw", "reasons",
            django.contrib.postgres.fields.ArrayField(models.CharField(max_length=10), default=list),
        ),
        migrations.AddField(
            "draw", "is_audited",
            models.BooleanField(
                default=False, help_text="an automatic answer that was drawn at random: it counts for the error budget"
            ),
        ),
        migrations.RunSQL(
            """
            UPDATE serving_draw d SET
                reasons = ARRAY(
                    SELECT DISTINCT CASE key WHEN 'audit' THEN 'review' ELSE key END
                    FROM jsonb_object_keys(d.probabilities) AS key
                ),
                is_audited = EXISTS (
                    SELECT FROM serving_requestlog l WHERE l.id = d.request_id AND l.day = d.day AND l.automatic
                        AND l.source <> 'fallback' AND (l.audited OR d.uniform_probability IS NOT NULL)
                );
            UPDATE serving_reviewitem SET
                reasons = CASE WHEN 'review' = ANY(reasons) THEN array_remove(reasons, 'audit')
                    ELSE array_replace(reasons, 'audit', 'review') END,
                reason = CASE reason WHEN 'audit' THEN 'review' ELSE reason END
            WHERE 'audit' = ANY(reasons);
            """,
            migrations.RunSQL.noop,
        ),
        migrations.RunPython(refit, migrations.RunPython.noop),
        migrations.RunPython(one_rate, migrations.RunPython.noop),
        migrations.RunPython(one_threshold, migrations.RunPython.noop),
        migrations.RunSQL(
            "ALTER TABLE serving_requestlog DROP COLUMN audited, DROP COLUMN audit_probability",
            "ALTER TABLE serving_requestlog ADD COLUMN audited boolean NOT NULL DEFAULT false,"
            " ADD COLUMN audit_probability double precision",
        ),
        migrations.RemoveField("answerpolicy", "audit_share"),
        migrations.RemoveField("answerpolicy", "basis"),
        migrations.RemoveField("answerpolicy", "budget_unit"),
        migrations.RemoveField("answerpolicy", "field_confidence"),
        migrations.RemoveField("draw", "predictor"),
        migrations.RemoveField("draw", "probabilities"),
        migrations.RemoveField("sampleday", "predicted"),
        migrations.RemoveField("sampleday", "predictor_squares"),
        migrations.RemoveField("sampleday", "predictor_sum"),
        migrations.RemoveField("sampleday", "reasons"),
        migrations.RemoveField("sampleplan", "low_confidence"),
        migrations.RemoveField("sampleplan", "per_day"),
        migrations.RemoveField("sampleplan", "targeted_per_day"),
        migrations.AlterField(
            "answerpolicy", "min_confidence",
            models.FloatField(
                blank=True, null=True, help_text="the threshold: of every field", validators=_PROBABILITY
            ),
        ),
        migrations.AlterField(
            "answerpolicy", "rest",
            models.CharField(
                choices=[("people", "Human review"), ("fallback", "The larger model")], default="fallback", max_length=10
            ),
        ),
        migrations.AlterField(
            "packagecalibration", "records",
            models.JSONField(default=list, help_text="see serving.confidence.calibration.DocumentRecord"),
        ),
        migrations.AlterField(
            "packagecalibration", "summary",
            models.JSONField(default=dict, help_text="see serving.confidence.calibration.summary"),
        ),
        migrations.AlterField(
            "reviewitem", "reason",
            models.CharField(
                choices=[
                    ("feedback", "Negative feedback"), ("failure", "Invalid output"), ("review", "Needs review"),
                    ("shadow", "Shadow disagrees"), ("fallback", "Fallback"), ("confidence", "Low confidence"),
                    ("uniform", "Uniform sample"),
                ],
                help_text="the most urgent one", max_length=10,
            ),
        ),
        migrations.AlterField(
            "sampleplan", "redact",
            django.contrib.postgres.fields.ArrayField(
                models.CharField(max_length=12), blank=True, default=list, size=None,
                help_text="kinds of values that the queue and documents do not show; see serving.review.redaction",
            ),
        ),
        migrations.AlterField(
            "sampleplan", "share",
            models.FloatField(
                default=0.05, help_text="of the answered requests that are drawn at random", validators=_PROBABILITY
            ),
        ),
    ]
