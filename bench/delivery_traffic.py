"""A job of ``bench.delivery_jobs``, the documents that it sends through the gateway, and how right the answers are."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai

from evaluation.scores.score_view import ScoreView
from serving.confidence.automation import Scored, calibration_error
from serving.confidence.signals import judged_fields
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import score_document

Policy = dict[str, Any]
#: rounds of the simulation of a perfectly calibrated model
_ROUNDS = 2_000


@dataclass(frozen=True)
class Row:
    """A labeled document, and the output of its evaluation."""

    name: str
    text: str
    gold: Any
    evaluated: str


@dataclass(frozen=True)
class Reply:
    """What a caller got; ``raw``: "" without an output."""

    status: int
    milliseconds: float
    raw: str = ""
    confidence: dict[str, float] = field(default_factory=dict)
    raw_confidence: dict[str, float] = field(default_factory=dict)
    source: str = ""
    needs_review: bool = False

    @property
    def by_fallback(self) -> bool:
        return self.source == "fallback"


class Caller:
    """A program with a token, which sends one document after another."""

    def __init__(self, url: str, token: str, slug: str) -> None:
        self._slug = slug
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=150)
        self._openai = openai.OpenAI(base_url=f"{url}/v1", api_key=token, timeout=150, max_retries=0)

    def extract(self, text: str, name: str) -> Reply:
        """POST extract. ``name``: what the request log has as the caller."""
        began = time.perf_counter()
        response = self._http.post(
            f"/api/v1/projects/{self._slug}/extract", json={"text": text, "caller": name, "evidence": False}
        )
        milliseconds = 1_000 * (time.perf_counter() - began)
        if response.status_code != 200:
            return Reply(response.status_code, milliseconds)
        body = response.json()
        # As the model wrote it: numbers keep all their digits.
        raw = dumps(loads(response.text)["output"])
        confidence = body["confidence"] if body["calibrated"] else {}
        return Reply(
            200, milliseconds, raw, confidence, body["raw_confidence"], body["answered_by"], body["needs_review"]
        )

    def chat(self, text: str, name: str, choice: str = "") -> Reply:
        """The official client of OpenAI. ``choice``: the field of a schema with one choice; its class comes as text."""
        began = time.perf_counter()
        kind: Any = {"response_format": {"type": "text"}} if choice else {}
        try:
            found = self._openai.chat.completions.create(
                model=self._slug, messages=[{"role": "user", "content": text}], user=name, **kind
            )
        except openai.APIStatusError as error:
            return Reply(error.status_code, 1_000 * (time.perf_counter() - began))
        milliseconds = 1_000 * (time.perf_counter() - began)
        content = found.choices[0].message.content or ""
        decision = (found.model_extra or {})["slm_studio"]
        confidence = decision["confidence"] if decision["calibrated"] else {}
        return Reply(
            200, milliseconds, dumps({choice: content}) if choice else content, confidence, {},
            decision["answered_by"], decision["needs_review"],
        )  # fmt: skip

    def close(self) -> None:
        """Closes both connections."""
        self._http.close()
        self._openai.close()


@dataclass(frozen=True)
class Job:
    """``limits``: the share that goes to people or to the larger model, for a limit on confidence; ``budgets``: further
    policies. ``choice``: the field of a schema with one choice; ``actions``: the file that maps its classes to actions.
    """

    rows: Callable[[Path], list[dict[str, Any]]]
    source: str
    options: tuple[str, ...]
    rest: float = 0.25
    budgets: dict[str, Policy] = field(default_factory=dict)
    choice: str = ""
    actions: Path | None = None


@dataclass
class Work:
    """A job that is being done: its project, and the addresses of the servers."""

    name: str
    job: Job
    folder: Path
    web: str
    gateway: str
    engineer: str
    labeled: list[dict[str, Any]] = field(default_factory=list)
    project: Any = None
    report: Any = None
    token: str = ""
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def schema(self) -> Any:
        return self.project.schema_version.compiled

    def policy(self, values: Policy | None = None) -> dict[str, Any]:
        """The answer policy over REST, after it was changed to ``values`` and the gateway has read it."""
        url = f"{self.web}/api/v1/projects/{self.name}/deployment/policy"
        headers = {"Authorization": f"Bearer {self.token}"}
        method = "GET" if values is None else "PUT"
        response = httpx.request(method, url, json=values, headers=headers, timeout=60)
        if response.status_code != 200:
            raise SystemExit(f"{method} {url}: {response.status_code} {response.text}")
        if values is not None:
            time.sleep(4)  # the gateway looks every two seconds
        found: dict[str, Any] = response.json()
        return found


def send(work: Work, caller: Caller, name: str) -> list[Reply]:
    """Every document, one after another. ``name`` starts with ``extract`` for that interface; else OpenAI's."""
    found = []
    for number, row in enumerate(work.rows, start=1):
        if name.startswith("extract"):
            found.append(caller.extract(row.text, name))
        else:
            found.append(caller.chat(row.text, name, work.job.choice))
        if number % 25 == 0 or number == len(work.rows):
            print(f"{work.name}, {name}: {number} of {len(work.rows)}", file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True)
class Accuracy:
    """How right outputs are: counts of valid and exact documents, and of correct fields."""

    documents: int
    valid: int
    exact: int
    correct: int
    fields: int

    @classmethod
    def of(cls, schema: CompiledSchema, rows: Sequence[Row], outputs: Sequence[str]) -> "Accuracy":
        """By the scorer of evaluations."""
        scores = [
            ScoreView.of(score_document(schema, text=row.text, gold=row.gold, raw=raw))
            for row, raw in zip(rows, outputs, strict=True)
        ]
        counts = [one.count() for one in scores]
        return cls(
            len(scores), sum(one.schema_valid for one in scores), sum(one.exact for one in scores),
            sum(one.correct for one in counts), sum(one.total for one in counts),
        )  # fmt: skip


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error, and the interval (5th to 95th percentile) in which that of a perfectly calibrated
    model with the same confidences is."""

    values: int
    error: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.values:
            return "–"
        return f"{100 * self.error:.1f}% ({100 * self.low:.1f} to {100 * self.high:.1f})"


def calibration(
    schema: CompiledSchema, rows: Sequence[Row], replies: Sequence[Reply], *, raw: bool = False
) -> CalibrationError:
    """The calibration error of the confidences of replies, or of their token probabilities (``raw``)."""
    values: list[Scored] = []
    for row, reply in zip(rows, replies, strict=True):
        known = reply.raw_confidence if raw else reply.confidence
        found = {path: (one, one) for path, one in known.items()}
        judged = judged_fields(schema, text=row.text, gold=row.gold, raw=reply.raw, found=found) if reply.raw else None
        values += [Scored(one.signals.minimum, one.is_correct) for one in judged or () if one.signals is not None]
    if not values:
        return CalibrationError(0, 0, 0, 0)
    draws = np.random.default_rng(17).random((_ROUNDS, len(values)))
    perfect = [
        calibration_error(
            [Scored(one.confidence, bool(at < one.confidence)) for one, at in zip(values, draw, strict=True)]
        )
        for draw in draws
    ]
    low, high = np.quantile(perfect, (0.05, 0.95))
    return CalibrationError(len(values), calibration_error(values), float(low), float(high))
