"""Bodies and responses of evaluations, gate reports and external models."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from evaluation.benchmarks import results
from evaluation.benchmarks.services import DEFAULT_DOCUMENTS, MAX_DOCUMENTS, MIN_DOCUMENTS
from evaluation.inference.model_columns import ExternalModel
from evaluation.inference.spec import MAX_CONCURRENCY
from evaluation.models import Approval, Benchmark, Endpoint, EvalRun
from evaluation.pipeline.report import figures
from labeling.api.schemas import In, Moment, Number, Number_, Out, Text, Whole
from labeling.models import Split
from slmstudio.runs.models import Status


def _day(value: Any) -> Any:
    """Bodies are strict, and JSON has no dates."""
    return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else value


Day = Annotated[date, BeforeValidator(_day)]
Reason = Annotated[Text, Field(max_length=4_000)]


# -- evaluations -------------------------------------------------------------------------------------------------------


class ModelOut(Out):
    """A model that can be evaluated."""

    key: str = Field(
        description="run-3 (training run 3), version-7 (the other weights that a run kept), gguf-1-q8_0, base-SLUG, "
        "classical-2, prompt-4 or endpoint-5"
    )
    label: str
    group: str


class EvaluationIn(In):
    """What to evaluate, and on which documents."""

    model: Annotated[Text, Field(max_length=200, description="a key of `evaluations/models`, such as run-3")]
    dataset: Number_ | None = Field(None, description="number of the dataset version; null: the newest")
    split: Text = Field(Split.VALIDATION.value, json_schema_extra={"enum": [*Split.values]})
    mode: Text = Field(EvalRun.Mode.CONSTRAINED.value, json_schema_extra={"enum": [*EvalRun.Mode.values]})
    concurrency: Annotated[Whole, Field(ge=1, le=MAX_CONCURRENCY)] = Field(1, description="concurrent documents")
    confirm_holdout: bool = Field(
        False, description="confirms the price of an evaluation on the hold-out; without it, the 409 states the price"
    )


class EvaluationOut(Out):
    """An evaluation. ``figures`` once it is done: rates, 95% intervals, latency, hash of the outputs."""

    number: int
    model: str = Field(validation_alias="model_label")
    key: str = Field(description="key of the model, as in `evaluations/models`", validation_alias="backend.choice_key")
    dataset: int = Field(validation_alias="dataset.number")
    split: str
    mode: str
    status: str = Field(description="queued, running, done, failed or cancelled")
    stage: str
    error: str
    documents_done: int = Field(validation_alias="progress_done")
    documents_total: int = Field(validation_alias="progress_total")
    seconds_left: float | None
    figures: dict[str, Any] | None
    reports: list[int] = Field(description="numbers of its gate reports")
    url: str = Field(validation_alias="get_absolute_url")
    created_at: Moment
    finished_at: Moment | None

    @staticmethod
    def resolve_figures(run: EvalRun) -> dict[str, Any] | None:
        """Those of a finished evaluation."""
        return figures(run) if run.status == Status.DONE else None

    @staticmethod
    def resolve_reports(run: EvalRun) -> list[int]:
        """In order."""
        return sorted(report.number for report in run.gate_reports.all())


class PriceOut(Out):
    """The price of a hold-out evaluation: its number, null if it does not count, and a summary sentence."""

    number: int | None
    sentence: str


class UnconfirmedOut(Out):
    """Nothing was started. `price` where `code` is `holdout_not_confirmed`."""

    title: str
    status: int
    detail: str
    code: str
    price: PriceOut | None = None


# -- benchmarks --------------------------------------------------------------------------------------------------------


class BenchmarkIn(In):
    """The candidates, how many documents, and the decoding modes of language models."""

    models: Annotated[list[Annotated[Text, Field(max_length=200)]], Field(min_length=1, max_length=20)] = Field(
        description="keys of `benchmarks/models`, such as classical-tfidf"
    )
    documents: Number_ = Field(DEFAULT_DOCUMENTS, description=f"{MIN_DOCUMENTS} to {MAX_DOCUMENTS}")
    modes: list[Text] = Field(
        [EvalRun.Mode.CONSTRAINED.value, EvalRun.Mode.FREE.value],
        json_schema_extra={"items": {"type": "string", "enum": [*EvalRun.Mode.values]}},
    )


class BenchmarkOut(Out):
    """A benchmark. ``recommendation``: once it is done; ``fine_tuning`` in it says whether fine-tuning is needed,
    ``gates`` has the verdict of the gates on outputs by run number. ``runs``: one for each model and mode, with
    accuracy, interval, labels, latency and cost per 1,000 documents once it is done."""

    number: int
    dataset: int = Field(validation_alias="dataset.number")
    documents: int
    status: str = Field(description="running, done, failed or cancelled")
    error: str
    recommendation: dict[str, Any] | None
    runs: list[dict[str, Any]]
    url: str = Field(validation_alias="get_absolute_url")
    created_at: Moment
    finished_at: Moment | None

    @staticmethod
    def resolve_documents(benchmark: Benchmark) -> int:
        """How many each model answers."""
        return len(benchmark.documents)

    @staticmethod
    def resolve_recommendation(benchmark: Benchmark) -> dict[str, Any] | None:
        """None until it is done."""
        return benchmark.result or None

    @staticmethod
    def resolve_runs(benchmark: Benchmark) -> list[dict[str, Any]]:
        """In the order in which they were started."""
        return results.reported_runs(benchmark, list(benchmark.runs.with_model().order_by("number")))


# -- gates -------------------------------------------------------------------------------------------------------------


class GateReportIn(In):
    """The evaluation to test, and its baseline."""

    evaluation: Number_
    baseline: Number_ | None = Field(
        None, description="number of an evaluation; omitted: the required one if there is one; null: none"
    )
    gates: Any = Field(
        None, description="a gate policy as JSON: a check on validation tests it instead of the policy of the project"
    )


class GateOut(Out):
    """A gate. PASS: `bound` is on the side of `threshold` that `operator` names.

    Values are shares for rates, otherwise in the unit of the metric; for a comparison they are differences, and the
    threshold is negative: the allowed loss.
    """

    key: str
    title: str
    metric: str
    slice: str
    field: str
    verdict: str = Field(description="PASS, FAIL, NOT PROVEN or INAPPLICABLE")
    code: int = Field(description="0 PASS, 1 FAIL, 2 NOT PROVEN")
    value: Number | None
    bound: Number | None
    operator: str
    threshold: Number
    low: Number | None = Field(description="one-sided lower bound")
    high: Number | None = Field(description="one-sided upper bound")
    confidence: Number = Field(description="confidence level of the bounds")
    count: int | None = Field(description="documents that are right or wrong, or requests within the limit")
    documents: int
    needed: int | None = Field(description="further documents that would prove the gate")
    sentence: str


class WaiverOut(Out):
    """An exception for a gate."""

    gate: str
    title: str
    reason: str
    owner: str
    expires: Moment


class DecisionOut(Out):
    """The decision on a report, and whether it is valid."""

    decision: str = Field(description="approved or rejected")
    reason: str
    by: str
    at: Moment
    waivers: list[WaiverOut]
    void: list[str] = Field([], description="why an approval is not valid; empty if it is")
    manifest_sha256: str


class GateReportRowOut(Out):
    """A gate report in a list."""

    report: int | None = Field(description="number of the gate report; null: a check, which is not stored")
    evaluation: int
    model: str
    verdict: str = Field(description="PASS, FAIL or NOT PROVEN: FAIL where one gate fails, PASS where all pass")
    code: int = Field(description="the exit code of a job: 0 PASS, 1 FAIL, 2 NOT PROVEN")
    sentence: str
    state: str = Field("", description="pending, approved, unconfirmed, rejected or void; empty for a check")
    url: str
    created_at: Moment | None


class GateReportOut(GateReportRowOut):
    """The gates of an evaluation: a gate report on the hold-out, a gate check on validation."""

    baseline: int | None
    split: str
    policy: int | None = Field(description="version of the gate policy; null: the gates of the request")
    holdout_evaluation: int | None = Field(description="number of the hold-out evaluation")
    gates: list[GateOut]
    decision: DecisionOut | None = None
    evidence: str | None = Field(None, description="URL of the evidence bundle")


class WaiverIn(In):
    """An exception for a gate that does not pass."""

    gate: Text | None = Field(None, description="key of the gate; null: every gate that does not pass", max_length=200)
    reason: Reason
    expires: Day = Field(description="last valid day, such as 2026-12-31")
    owner: Text = Field("", description="username of a member; default: the member who decides", max_length=150)


class DecisionIn(In):
    """A decision on a report. An approval needs a waiver for each gate that does not pass."""

    decision: Text = Field(json_schema_extra={"enum": [*Approval.Decision.values]})
    reason: Reason
    waivers: Annotated[list[WaiverIn], Field(max_length=200)] = []


class WithdrawalIn(In):
    """Why an approval is withdrawn."""

    reason: Reason


# -- external models ---------------------------------------------------------------------------------------------------


class EndpointIn(In):
    """An external model behind an OpenAI-compatible server. Its key is in an environment variable of the server."""

    name: Annotated[Text, Field(max_length=80)]
    url: Annotated[Text, Field(max_length=300, description="base URL, which usually ends in /v1")]
    model: Annotated[Text, Field(max_length=200, description="the model name that the server expects")]
    key_variable: Annotated[Text, Field(max_length=80, description="SLM_KEY_...; empty: no key is sent")] = ""
    structured: Literal[tuple(ExternalModel.Structured.values)] = ExternalModel.Structured.AUTO.value  # type: ignore[valid-type]
    logprobs: bool = Field(True, description="request token probabilities")
    timeout_seconds: Whole = 60
    concurrency: Whole = Field(4, description="concurrent requests")
    max_tokens: Whole = Field(1024, description="maximum tokens of one output, including reasoning")
    window_tokens: Whole | None = Field(
        None, description="window size; a longer document is read in windows of this size"
    )
    reasoning_effort: Literal[("", *ExternalModel.Effort.values)] = ""  # type: ignore[valid-type]
    price_in: Annotated[Number | None, Field(ge=0, le=1_000_000, description="price per million input tokens")] = None
    price_out: Annotated[Number | None, Field(ge=0, le=1_000_000, description="price per million output tokens")] = None


class EndpointOut(Out):
    """An external model."""

    id: int = Field(validation_alias="pk")
    key: str = Field(description="key of the model in `evaluations/models`")
    name: str
    url: str
    model: str
    key_variable: str
    structured: str
    logprobs: bool
    timeout_seconds: int
    concurrency: int
    max_tokens: int
    window_tokens: int | None
    reasoning_effort: str
    price_in: float | None
    price_out: float | None
    holdout_permitted: bool = Field(False, description="whether the owner permits sending hold-out documents to it")
    page: str = Field(validation_alias="get_absolute_url")

    @staticmethod
    def resolve_key(endpoint: Endpoint) -> str:
        """As in the list of models."""
        return f"endpoint-{endpoint.pk}"
