"""Drift: once a day, what callers sent and got is compared with the documents and outputs of the evaluation.

Each metric has a p-value that is valid at any sample size: of numbers the exact two-sample Kolmogorov-Smirnov test, of
categories Fisher's exact test of each against the rest, times their number. Metrics are adjusted by Holm, and an alarm
takes an adjusted p-value of ``LEVEL`` or less. A project is checked once a day, so by the union bound the chance of any
false alarm within ``PERIOD_DAYS`` days, over all metrics, is at most ``PERIOD_LEVEL``, whether or not the checks are
independent. A difference must also be large enough to matter.
"""

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any

from django.db.models import QuerySet, Sum

from evaluation.models import EvalRun
from evaluation.stats import holm
from labeling.datasets import queries as dataset_queries
from labeling.models import Project, Split
from serving.models import Deployment, DriftCheck, Release, RequestLog, Traffic
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Node
from slmstudio.periodic import for_each
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.text.formatting import percent

#: documents of one sample; live ones under which earlier days are added, and under which nothing is compared
MAX_DOCUMENTS, ENOUGH, MIN_DOCUMENTS, MAX_DAYS = 2_000, 200, 50, 7
PERIOD_DAYS, PERIOD_LEVEL = 90, 0.05
LEVEL = PERIOD_LEVEL / PERIOD_DAYS
#: differences that matter: of two distribution functions at one place, and of two shares
MIN_DISTANCE, MIN_SHARE = 0.1, 0.05
#: values of a metric in each sample, for a test; the most frequent categories that are tested, the others count as one
MIN_VALUES, MAX_CATEGORIES, OTHER = 20, 10, "other"
#: characters that the language is read from, and under which it is not
_LANGUAGE_TEXT, _SHORT, _MAX_CATEGORY = 2_000, 20, 80
MAX_CHECKS = 90
#: why nothing was compared
PROBLEMS = {
    "no_reference": "The evaluation of this version has too few outputs for a comparison.",
    "too_few": "Too few documents were sent for a comparison.",
}
_TITLES = {
    "length": "Document length", "language": "Document language", "null": "{} is null", "rows": "Rows of {}",
    "characters": "Length of {}", "value": "Value of {}", "confidence": "Confidence of {}",
}  # fmt: skip
Value = float | str | bool
#: metric -> value. Numbers are compared as distributions, texts as categories, booleans as a rate
Profile = dict[str, Value]


@dataclass(frozen=True)
class Finding:
    """A metric compared. ``effect``: the largest difference of the distribution functions, or of a category's share.

    ``reference`` and ``live``: medians, or shares of ``category``. ``changed``: significant and large enough.
    """

    metric: str
    kind: str
    p: float
    adjusted: float
    effect: float
    reference: float
    live: float
    reference_count: int
    live_count: int
    category: str = ""
    changed: bool = False

    @property
    def title(self) -> str:
        """What the metric is."""
        kind, _, name = self.metric.partition(" ")
        return _TITLES[kind].format(name) if kind in _TITLES else self.metric

    @property
    def figures(self) -> tuple[str, str]:
        """Evaluation and live as text."""
        values = (self.reference, self.live)
        before, after = (percent(value) if self.kind == "share" else _number(value) for value in values)
        return before, after

    @property
    def sentence(self) -> str:
        """What changed."""
        before, after = self.figures
        kind, _, name = self.metric.partition(" ")
        if kind == "null":
            return f"{name} is null in {after} of the outputs ({before} in the evaluation)."
        if self.kind == "share":
            what = "Other values" if self.category == OTHER else f"“{self.category}”"
            of = "the documents" if kind == "language" else f"the outputs ({name})"
            return f"{what}: {after} of {of} ({before} in the evaluation)."
        if self.reference == self.live:
            return f"{self.title}: different distribution with the same median, {before}."
        return f"{self.title}: median {after} ({before} in the evaluation)."


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def checks(project: Project) -> QuerySet[DriftCheck]:
    """The checks of a project, the newest first."""
    return DriftCheck.objects.filter(project=project).select_related("release").order_by("-day")


def findings(row: DriftCheck) -> list[Finding]:
    """What a check found, the smallest p-value first."""
    return [Finding(**finding) for finding in row.findings]


# -- the daily check --------------------------------------------------------------------------------------------------


def check_due(now: datetime) -> int:
    """Makes yesterday's checks that are missing; returns their number."""
    day = (now.astimezone(UTC) - timedelta(days=1)).date()
    rows = Deployment.objects.with_releases().filter(stable__isnull=False)
    due = rows.exclude(project__drift_checks__day=day).order_by("pk")
    return for_each("drift", due, lambda deployment: bool(check(deployment, day)))


def check(deployment: Deployment, day: date) -> DriftCheck:
    """The check of a day. Made once: the rate of false alarms is that of one check a day."""
    release = deployment.stable
    assert release is not None
    row = DriftCheck(project=deployment.project, release=release, day=day)
    run = reference_run(release)
    reference = [] if run is None else reference_profiles(run, with_confidence=_same_engine(release))
    row.reference_count = len(reference)
    if run is None or len(reference) < MIN_DOCUMENTS // 2:
        row.problem = "no_reference"
    else:
        live, row.days = live_profiles(release, run.dataset.schema_version.compiled, day)
        row.live_count = len(live)
        if len(live) < MIN_DOCUMENTS:
            row.problem = "too_few"
        else:
            compared = compare(reference, live)
            row.findings = [asdict(finding) for finding in compared]
            row.changed = sum(finding.changed for finding in compared)
    DriftCheck.objects.bulk_create([row], ignore_conflicts=True)
    return row


def reference_run(release: Release) -> EvalRun | None:
    """The evaluation whose documents and outputs are compared with: that of the package, or of an external model its
    newest one on the hold-out."""
    if release.package is not None:
        return release.package.eval_run
    runs = EvalRun.objects.filter(project=release.project_id, endpoint=release.endpoint_id, split=Split.HOLDOUT)
    return runs.filter(status=Status.DONE).order_by("-pk").first()


def _same_engine(release: Release) -> bool:
    """Probabilities of another engine or quantization are others."""
    package = release.package
    exact = ("transformers", "sklearn", "encoder_fp32")
    return package is None or package.engine in exact or package.eval_run.export_id is not None


def reference_profiles(run: EvalRun, *, with_confidence: bool) -> list[Profile]:
    """The documents of an evaluation with the model's outputs, not with gold: its errors are in both samples."""
    texts = {str(row["id"]): str(row["text"]) for row in dataset_queries.rows(run.dataset, run.split)}
    path = artifacts.local_path(run.outputs_key)
    profiles: list[Profile] = []
    if not path.is_file():
        return profiles
    schema = run.dataset.schema_version.compiled
    with path.open(encoding="utf-8") as file:
        for line in file:
            event: dict[str, Any] = json.loads(line)
            text = texts.get(str(event.get("id")))
            if text is None or event.get("finish_reason") == "error" or len(profiles) >= MAX_DOCUMENTS:
                continue
            confidence = event.get("confidence") if with_confidence else None
            profiles.append(profile(schema, text=text, raw=str(event.get("raw") or ""), confidence=confidence))
    return profiles


def live_profiles(release: Release, schema: CompiledSchema, day: date) -> tuple[list[Profile], int]:
    """Documents that callers sent up to the end of a day, each once, and how many days they are from."""
    days = 1
    while len(keys := _keys(release, day - timedelta(days=days - 1), day)) < ENOUGH and days < MAX_DAYS:
        days += 1
    rows = RequestLog.objects.filter(day__in={at for at, _ in keys}, id__in=[key for _, key in keys])
    profiles = [
        # Where a larger model answered, what the small one wrote is compared.
        profile(schema, text=row.text, raw=row.first_output or row.output, confidence=row.confidence)
        for row in rows.iterator()
    ]
    return [values for values in profiles if values], days


def _keys(release: Release, first: date, last: date) -> list[tuple[date, Any]]:
    """Day and id of the requests to compare, a uniform sample of the documents where there are many."""
    begin, end = datetime.combine(first, time(), UTC), datetime.combine(last + timedelta(days=1), time(), UTC)
    rows = RequestLog.objects.filter(
        project_id=release.project_id, release=release, shadow_of=None, status=200, day__gte=first, day__lte=last,
        created_at__gte=begin, created_at__lt=end,
    ).exclude(key_sha256="")  # fmt: skip
    traffic = Traffic.objects.filter(
        project_id=release.project_id, release_id=release.pk, seconds=3_600, start__gte=begin, start__lt=end
    ).exclude(source="shadow")
    number = traffic.aggregate(number=Sum("requests"))["number"] or 0
    if number > 4 * MAX_DOCUMENTS:
        # The hash of a document is uniform: its first digits draw a share of the documents.
        rows = rows.filter(key_sha256__lt=f"{int(4 * MAX_DOCUMENTS / number * 16**8):08x}")
    distinct = rows.order_by("key_sha256", "created_at").distinct("key_sha256").values_list("day", "id")
    return list(distinct[:MAX_DOCUMENTS])


# -- profiles ---------------------------------------------------------------------------------------------------------


def profile(
    schema: CompiledSchema, *, text: str = "", raw: str = "", confidence: Mapping[str, Any] | None = None
) -> Profile:
    """What is compared of one request; what is empty is left out. ``confidence``: field path -> token probabilities,
    the lowest first."""
    values: Profile = {}
    if text:
        values["length"] = float(len(text))
        values["language"] = language(text)
    if raw:
        try:
            output = loads(raw)
        except JsonError:
            output = None
        if isinstance(output, dict):
            _add_fields(schema.root, output, values)
    for path, probabilities in (confidence or {}).items():
        if "[" not in path:
            lowest = probabilities[0] if isinstance(probabilities, list | tuple) else probabilities
            values[f"confidence {path}"] = float(lowest)
    return values


def language(text: str) -> str:
    """The language of a text by its code (ISO 639-1); "?" where the text is too short."""
    import py3langid  # loads its model; pages do not need it

    part = text[:_LANGUAGE_TEXT]
    return "?" if len(part.strip()) < _SHORT else str(py3langid.classify(part)[0])


def _add_fields(node: Node, value: Any, values: Profile) -> None:
    """Adds what the output has at and below a place of the schema; of lists the number of rows."""
    if node.item is not None:
        values[f"rows {node.pattern}"] = float(len(value)) if isinstance(value, list) else 0.0
        return
    if node.field is None:
        for name, child in node.children.items():
            _add_fields(child, value.get(name) if isinstance(value, dict) else None, values)
        return
    pattern = node.field.pattern
    values[f"null {pattern}"] = value is None
    if value is None or node.field.kind == "date":  # dates move on by themselves
        return
    if node.field.is_choice:
        values[f"value {pattern}"] = str(value)[:_MAX_CATEGORY]
    elif isinstance(value, str):
        values[f"characters {pattern}"] = float(len(value))
    elif not isinstance(value, bool | list | dict):
        values[f"value {pattern}"] = float(value)


# -- comparison -------------------------------------------------------------------------------------------------------


def compare(reference: Sequence[Profile], live: Sequence[Profile], *, level: float = LEVEL) -> list[Finding]:
    """Every metric that both samples have, the smallest p-value first."""
    compared = []
    for name in sorted(set().union(*reference) & set().union(*live)):
        before = [values[name] for values in reference if name in values]
        after = [values[name] for values in live if name in values]
        if min(len(before), len(after)) < MIN_VALUES:
            continue
        if all(isinstance(value, float) for value in (*before, *after)):
            compared.append(_numbers(name, [float(value) for value in before], [float(value) for value in after]))
        else:
            is_rate = all(isinstance(value, bool) for value in (*before, *after))
            texts = [str(value) for value in before], [str(value) for value in after]
            compared.append(_shares(name, *texts, only="True" if is_rate else ""))
    compared.sort(key=lambda finding: finding.p)
    adjusted = holm([finding.p for finding in compared])
    return [
        replace(finding, adjusted=p, changed=p <= level and finding.effect >= _least(finding))
        for finding, p in zip(compared, adjusted, strict=True)
    ]


def _least(finding: Finding) -> float:
    return MIN_DISTANCE if finding.kind == "number" else MIN_SHARE


def _numbers(name: str, before: Sequence[float], after: Sequence[float]) -> Finding:
    """The two-sample Kolmogorov-Smirnov test; with ties it is conservative."""
    from scipy import stats  # takes a second, and pages do not test

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # falls back to the asymptotic distribution
        result = stats.ks_2samp(before, after, method="auto")
    return Finding(
        name, "number", float(result.pvalue), 1.0, float(result.statistic), float(median(before)),
        float(median(after)), len(before), len(after),
    )  # fmt: skip


def _shares(name: str, before: Sequence[str], after: Sequence[str], *, only: str = "") -> Finding:
    """Fisher's exact test of each category, or of ``only`` one, times their number; the one with the smallest p."""
    first, second = Counter(before), Counter(after)
    tested = [category for category, _ in (first + second).most_common(MAX_CATEGORIES)]
    rare = set(first | second) - set(tested)
    if rare:
        tested = [*(category for category in tested if category != OTHER), OTHER]
        for counts in (first, second):
            counts[OTHER] += sum(counts[category] for category in rare - {OTHER})
    tested = [only] if only else tested
    n, m = len(before), len(after)
    p, category = min((fisher(first[category], n, second[category], m), category) for category in tested)
    reference, live = first[category] / n, second[category] / m
    return Finding(
        name, "share", min(1.0, p * len(tested)), 1.0, abs(live - reference), reference, live, n, m, category
    )  # fmt: skip


def fisher(k: int, n: int, j: int, m: int) -> float:
    """The p-value of k of n against j of m, two-sided by doubling the smaller tail."""
    from scipy import stats

    tail = stats.hypergeom(n + m, k + j, n)
    return float(min(1.0, 2 * min(tail.cdf(k), tail.sf(k - 1))))
