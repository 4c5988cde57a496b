"""The page of a comparison of 10,000 documents with 12 fields: created, opened, filtered; and a matrix of eight.

Documents, gold labels and outputs are generated and written directly to the tables.
"""

import random
import time
from collections.abc import Iterator
from typing import Any

from bench.studio import Browser, studio
from bench.timing import Samples, table
from slmstudio.workers.hardware import peak_resident_bytes

DOCUMENTS, FIELDS, RUNS, ROUNDS = 10_000, 12, 8, 20
TARGET_MS = 200.0
_TEXT = "Invoice {0} of 2026-01-14 from supplier {1}. Total {0}.50\n" + "Thank you for your business. " * 40
_ERRORS = ("missing", "normalisation", "wrong_value", "hallucinated")


def main() -> None:
    """Measures and prints a table; needs no model and no network."""
    with studio(web_workers=1, threads=2) as running:
        user, address = _furnish()
        browser = Browser(running.port, user)
        start = time.perf_counter()
        browser.get(f"{address}?runs=1,2")
        made = time.perf_counter() - start
        pages = {
            "comparison, warm": f"{address}?runs=1,2",
            "its last page": f"{address}?runs=1,2&page=1000",
            "broken in a field": f"{address}?runs=1,2&field=field_3&state=broken",
            "by error, tag and slice": f"{address}?runs=1,2&error=missing&in=a&tag=tag_1&slice=metadata.supplier=s3",
            "as Markdown": f"{address}comparison.md?runs=1,2",
            "as JSON": f"{address}comparison.json?runs=1,2",
            "matrix of eight": f"{address}?runs={','.join(str(n) for n in range(1, RUNS + 1))}",
        }
        rows = [_measured(name, browser, path) for name, path in pages.items()]
    head = (f"{DOCUMENTS:,} documents", "quickest ms", "median ms", "p95 ms", "queries")
    print(table("Comparison", head, rows))
    print(f"made the first time in {made:.1f} s; target of the page {TARGET_MS:.0f} ms")
    print(f"peak memory of this process {peak_resident_bytes() // 2**20} MB")


def _measured(name: str, browser: Browser, path: str) -> tuple[str, ...]:
    samples = Samples(name, TARGET_MS)
    browser.get(path)
    for _ in range(ROUNDS):
        answer = browser.get(path)
        assert answer.status == 200, (path, answer.status)
        samples.add(answer.milliseconds, answer.queries)
    times = (min(samples.times), samples.median, samples.p95)
    return name, *(f"{milliseconds:.0f}" for milliseconds in times), str(max(samples.queries))


def _furnish() -> tuple[Any, str]:
    """A project with finished runs; returns its owner and the URL of comparisons."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from evaluation.models import EvalOutput, EvalRun
    from labeling.models import DatasetVersion, Document
    from labeling.projects.services import create_project
    from slmstudio.contract.scoring.scorer import wilson
    from slmstudio.runs.models import Status
    from slmstudio.storage.hashing import sha256_text
    from training.models import BaseModel

    user = get_user_model().objects.create_user("bench")
    project = create_project(owner=user, name="Compared", slug="compared", template="invoice")
    texts = [_TEXT.format(number, number % 7) for number in range(DOCUMENTS)]
    documents = Document.objects.bulk_create(
        [
            Document(
                project=project,
                external_id=f"doc-{number:05}",
                text=text,
                sha256=sha256_text(text),
                metadata={"supplier": f"s{number % 7}", "file": f"{number}.txt"},
                tags=[f"tag_{number % 9}"],
                holdout=True,
            )
            for number, text in enumerate(texts)
        ],
        batch_size=1_000,
    )
    dataset = DatasetVersion.objects.create(
        project=project,
        number=1,
        schema_version=project.schema_versions.get(),
        instruction="-",
        seed=1,
        sha256="0" * 64,
        holdout_sha256="0" * 64,
        artifact_key="none",
    )
    base = BaseModel.objects.create(slug="bench", name="Bench", source=BaseModel.Source.FOLDER, location="-")
    for number in range(1, RUNS + 1):
        rate = wilson(7_000, DOCUMENTS)
        run = EvalRun.objects.create(
            project=project,
            number=number,
            dataset=dataset,
            base_model=base,
            status=Status.DONE,
            finished_at=timezone.now(),
            scores={"documents": DOCUMENTS, "field_exact": rate, "schema_valid": rate, "errors": {}, "per_field": {}},
            latency={"p50": 300.0, "p95": 500.0, "p99": 600.0},
            facts={"docs_per_second": 3.0, "output_tokens": 40 * DOCUMENTS},
            scorer_version="1",
        )
        EvalOutput.objects.bulk_create(_outputs(run, documents, number), batch_size=500)
    return user, "/p/compared/evaluation/compare/"


def _outputs(run: Any, documents: list[Any], seed: int) -> Iterator[Any]:
    from evaluation.models import EvalOutput

    rng = random.Random(seed)
    for number, document in enumerate(documents):
        fields = [_field(rng, name, 0.8 + 0.02 * seed) for name in (f"field_{i}" for i in range(FIELDS))]
        wrong = [field for field in fields if field["error"]]
        output = {field["field"]: field["output"] for field in fields}
        yield EvalOutput(
            eval_run=run,
            document=document,
            gold={field["field"]: field["gold"] for field in fields},
            raw=str(output),
            finish_reason="stop",
            score={
                "valid_json": True, "schema_valid": True, "required_present": True, "no_extra_keys": True,
                "exact": not wrong, "invariants_hold": None, "output": output, "fields": fields, "problems": [],
            },
            valid=True,
            exact=not wrong,
            wrong_fields=[field["field"] for field in wrong],
            errors=sorted({field["error"] for field in wrong}),
            tags=[f"tag_{number % 9}"],
            latency_ms=300.0,
            output_tokens=40,
        )  # fmt: skip


def _field(rng: random.Random, name: str, right: float) -> dict[str, Any]:
    gold = f"value {rng.randrange(10**6)} of {name}"
    if rng.random() < right:
        return {"path": name, "field": name, "outcome": "correct", "gold": gold, "output": gold, "error": ""}
    error = rng.choice(_ERRORS)
    outcome = error if error in ("missing", "hallucinated") else "wrong"
    output = None if error == "missing" else gold.replace("value", "va1ue")
    return {"path": name, "field": name, "outcome": outcome, "gold": gold, "output": output, "error": error}
