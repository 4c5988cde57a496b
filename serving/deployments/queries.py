"""What the page of a deployment shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Aggregate, Count, FloatField, Q
from django.urls import reverse
from django.utils import timezone

from evaluation.approvals.decisions import CurrentState, ReportAction, void_reasons
from evaluation.audit import services as audit_services
from evaluation.gates.production import ProductionModel
from evaluation.inference.backend import ModelKey
from evaluation.models import Approval, AuditEntry, EvalRun, GateReport
from labeling.models import Document, Project
from serving.deployments.gate_certificates import GateCertificate, of_release
from serving.engines import ENGINES
from serving.models import (
    Deployment,
    DeploymentEvent,
    Package,
    Release,
    Replica,
    RequestLog,
    Rollout,
    TrafficComparison,
)
from serving.packages.services import choices, default_engine
from slmstudio.access import Action
from slmstudio.runs.models import ACTIVE, Status

#: rows of the lists on the page
MAX_EVENTS = 20
MAX_REQUESTS = 20
MAX_CODES = 8
MAX_RUNS = 10
#: a rollback that takes longer was not one
_ROLLBACK_WITHIN = timedelta(minutes=10)


class _Percentile(Aggregate):
    """A percentile of a column by PostgreSQL; ``share``: 0 to 1."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


@dataclass(frozen=True)
class ReleaseStatus:
    """A release with its replicas and what it answered in the last day."""

    release: Release
    replicas: list[Replica]
    wanted: int
    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    #: code -> number of requests without an output, the most frequent first
    errors: dict[str, int]
    #: how its model compares with the production model of its gate report
    certificates: list[GateCertificate]

    @property
    def is_approved(self) -> bool:
        """Whether it may answer callers: a report, which may be void by now, or an external model."""
        return self.release.report_id is not None or self.release.package is None

    @property
    def ready(self) -> int:
        """Replicas that answer."""
        return sum(replica.state == Replica.State.READY for replica in self.replicas)

    @property
    def state(self) -> tuple[str, str]:
        """The state of its badge, and its label."""
        if self.release.package is None:
            return "done", "external"
        package = self.release.package
        if package.status in ACTIVE:
            return "running", "package is being built"
        if not package.is_ready:
            return "failed", "package failed"
        if self.ready:
            return "done", "answering" if self.ready >= self.wanted else f"{self.ready} of {self.wanted} ready"
        if any(replica.state == Replica.State.FAILED for replica in self.replicas):
            return "failed", "failed to start"
        return "queued", "starting" if self.replicas else "waiting for a host"

    @property
    def has_bundle(self) -> bool:
        """Whether it can be downloaded for use without the studio."""
        return self.release.package is not None and self.release.package.has_bundle

    @property
    def parity(self) -> dict[str, Any]:
        """The parity check of the engine and file that it uses; {} before the build."""
        variant = self.release.package.variant(self.release.variant) if self.release.package is not None else None
        return variant.parity if variant is not None else {}

    @property
    def quantization(self) -> str:
        """Of its GGUF file; "" for weights."""
        variant = self.release.package.variant(self.release.variant) if self.release.package is not None else None
        return variant.kind if variant is not None else ""

    @property
    def error(self) -> str:
        """Why it does not answer, as a sentence."""
        package = self.release.package
        if package is not None and package.error:
            return package.error
        return next((replica.error for replica in self.replicas if replica.error), "")


def was_used(project: Project) -> bool:
    """Whether anything was deployed or packaged in a project: before that its pages of serving are empty."""
    return Deployment.objects.filter(project=project).exists() or Package.objects.filter(project=project).exists()


def find(project: Project) -> Deployment | None:
    """The deployment of a project, None before its first release."""
    # Planning the joins takes longer than this query, and most projects have none yet.
    if not Deployment.objects.filter(project=project).exists():
        return None
    deployment: Deployment | None = Deployment.objects.with_releases().filter(project=project).first()
    if deployment is not None:
        deployment.project = project
    return deployment


def serving_of(project: Project) -> str:
    """What answers the requests of a project, as a sentence with what to do; "" where nothing does."""
    deployment = find(project)
    if deployment is None or not deployment.serving:
        return ""
    return f"{str(deployment.serving[0]).capitalize()} answers requests. Stop the deployment first."


def production_model(project: Project) -> ProductionModel | None:
    """What answers the requests of a project as its stable version, for gates that compare with it."""
    deployment = find(project)
    release = deployment.stable if deployment is not None else None
    if release is None:
        return None
    source = f"{release} of the deployment"
    if release.endpoint is not None:
        key = ModelKey(endpoint=release.endpoint.pk, name=release.endpoint.model, url=release.endpoint.url)
        return ProductionModel(key, "", str(release.endpoint), source)
    assert release.package is not None
    run = EvalRun.objects.with_model().get(pk=release.package.eval_run_id)
    return ProductionModel(run.backend.key, run.mode, run.model_label, source)


def status_of(deployment: Deployment, release: Release | None) -> ReleaseStatus | None:
    """A release with its replicas and figures."""
    if release is None:
        return None
    since = timezone.now() - timedelta(days=1)
    rows = RequestLog.objects.filter(
        project_id=deployment.project_id, release=release, created_at__gte=since, day__gte=since.date()
    )
    # A caller that hung up is no failure of the model.
    figures = rows.aggregate(
        requests=Count("id"),
        failed=Count("id", filter=Q(status__gte=500)),
        p50_ms=_Percentile("total_ms", share=0.5, filter=Q(status=200)),
        p95_ms=_Percentile("total_ms", share=0.95, filter=Q(status=200)),
    )
    counted = rows.exclude(status=200).values("code").annotate(number=Count("id")).order_by("-number", "code")
    errors = {row["code"]: row["number"] for row in counted[:MAX_CODES]}
    replicas = list(Replica.objects.alive().filter(release=release).order_by("host", "slot"))
    return ReleaseStatus(
        release, replicas, deployment.replicas, errors=errors, certificates=of_release(release), **figures
    )


def events(project: Project) -> list[DeploymentEvent]:
    """The newest changes."""
    rows = DeploymentEvent.objects.filter(project=project).select_related("release", "stable", "user").order_by("-pk")
    return list(rows[:MAX_EVENTS])


def rollback_time(project: Project) -> dict[str, float | None] | None:
    """How fast the newest rollback or abort took effect, by the request log; None before the first.

    Seconds to the ``last`` request that the old version began, and to the ``first`` response of the version that it
    went back to; None where there was none.
    """
    kinds = (DeploymentEvent.Kind.ABORTED, DeploymentEvent.Kind.ROLLED_BACK)
    event = DeploymentEvent.objects.filter(project=project, kind__in=kinds).order_by("-pk").first()
    if event is None or event.release_id is None:
        return None
    at = event.created_at
    later = DeploymentEvent.objects.filter(project=project, pk__gt=event.pk, kind=DeploymentEvent.Kind.DEPLOYED)
    end = later.order_by("pk").values_list("created_at", flat=True).first() or at + _ROLLBACK_WITHIN
    rows = RequestLog.objects.filter(
        project_id=project.pk, shadow_of=None, created_at__gte=at, created_at__lte=min(end, at + _ROLLBACK_WITHIN),
        day__gte=at.date(),
    )  # fmt: skip
    back = event.release_id if event.kind == DeploymentEvent.Kind.ROLLED_BACK else event.stable_id
    old = rows.exclude(release=back).exclude(release=None).order_by("-created_at").values_list("created_at", flat=True)
    new = rows.filter(release=back, status=200).order_by("created_at").values_list("created_at", "total_ms").first()
    last = old.first()
    return {
        "last": (last - at).total_seconds() if last is not None else None,
        "first": (new[0] - at).total_seconds() + new[1] / 1000 if new is not None else None,
    }


def requests(project: Project) -> list[RequestLog]:
    """The newest requests of callers."""
    rows = RequestLog.objects.filter(project_id=project.pk, shadow_of=None).select_related("release")
    return list(rows.defer("text", "output").order_by("-created_at")[:MAX_REQUESTS])


def approved_reports(project: Project) -> list[GateReport]:
    """Reports whose approval is valid, the newest first."""
    approvals = (
        Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
        .select_related(
            "report__policy", "report__eval_run__dataset__schema_version", "report__eval_run__base_model",
            "report__eval_run__training_run__base_model", "report__eval_run__model_version",
            "report__eval_run__endpoint", "report__eval_run__export", "report__eval_run__classical", "report__baseline",
        )
        .order_by("-report__number")
    )  # fmt: skip
    current = CurrentState(project)
    reports = []
    for approval in approvals[:10]:
        approval.report.project = project
        if approval.report.eval_run.backend.is_servable and not void_reasons(approval, files=False, current=current):
            reports.append(approval.report)
    return reports


def was_deployed(report: GateReport) -> bool:
    """Whether its model was deployed, also if it was taken back."""
    return Release.objects.filter(report=report).exists()


def shadow_runs(project: Project, approved: Iterable[GateReport]) -> list[EvalRun]:
    """The newest evaluations whose models can run in shadow, without those of approved reports; none where nothing
    answers that a shadow could be compared with."""
    if not Deployment.objects.filter(project=project, stable__isnull=False).exists():
        return []
    rows = EvalRun.objects.with_model().filter(project=project, status=Status.DONE, benchmark=None, endpoint=None)
    rows = rows.filter(rescored_from=None).exclude(pk__in=[report.eval_run_id for report in approved])
    return list(rows.exclude(spec="").order_by("-number")[:MAX_RUNS])


def engine_choices(runs: Iterable[EvalRun]) -> list[tuple[str, str]]:
    """Key and label of every engine that can serve the models of evaluations."""
    runs = list(runs)
    labels = {choice.key: choice.label for run in runs for choice in choices(run) if not choice.problem}
    # By the engine alone as well: the first GGUF file then.
    families = {ENGINES[default_engine(run)].family for run in runs}
    engines = ("llama_cpp", "transformers") if "decoder" in families else ()
    return list({**{name: ENGINES[name].label for name in engines}, **labels}.items())


def deploy_action(report: GateReport, user: User) -> ReportAction | None:
    """The button on the page of a report that was approved, for users who may deploy: to deploy its model, and once it
    answers to try it; where its approval was withdrawn, to stop it. None otherwise."""
    if Action.DEPLOY not in getattr(report.project, "can", ()) or report.eval_run.endpoint_id is not None:
        return None
    deployment = find(report.project)
    url = reverse("deployment", args=[report.project.slug])
    if deployment is not None and any(release.report_id == report.pk for release, _ in withdrawn(deployment)):
        return ReportAction("Stop the deployment", "stop-fill", f"{url}#status")
    if void_reasons(report.approval, files=False):
        return None
    if deployment is not None and deployment.stable is not None and deployment.stable.report_id == report.pk:
        return ReportAction("Try a document", "play-fill", f"{url}#try")
    if deployment is not None and report.pk in {release.report_id for release in deployment.serving}:
        return None
    return ReportAction("Deploy", "rocket-takeoff", f"{url}?report={report.number}#deploy")


def withdrawn(deployment: Deployment) -> list[tuple[Release, AuditEntry]]:
    """The releases that serve although the approval of their report was withdrawn, each with the entry of that."""
    entries = audit_services.entries_by_subject(deployment.project, audit_services.WITHDRAWN)
    serving = [release for release in deployment.serving if release.report is not None]
    return [(release, entries[str(release.report)]) for release in serving if str(release.report) in entries]


def running_split(project: Project) -> TrafficComparison | None:
    """The live split that runs."""
    split: TrafficComparison | None = TrafficComparison.objects.splits().filter(project=project).first()
    return split


def sample_text(project: Project) -> str:
    """The text of a document, to try the model with: an unlabeled one where there is one, as no gold label of it was
    learned."""
    documents: Any = Document.objects
    rows = (documents.unlabeled(project), documents.filter(project=project))
    texts = (row.order_by("pk").values_list("text", flat=True).first() for row in rows)
    return str(next(filter(None, texts), ""))[:8_000]


def was_called(release: Release) -> bool:
    """Whether the log has a request that a release answered."""
    rows = RequestLog.objects.filter(project_id=release.project_id, release=release)
    return rows.filter(day__gte=release.created_at.date()).exists()


def evidence_sentence(deployment: Deployment) -> str:
    """What the evidence says about the candidate, for the question whether to give it more requests."""
    rollout = Rollout.objects.filter(deployment=deployment, ended_at=None).order_by("-pk").first()
    return rollout.reason if rollout is not None and rollout.reason else "No evidence yet: no requests were counted."
