"""Models behind an OpenAI-compatible endpoint: their documents over HTTP, several requests in flight."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Self

from evaluation.inference.backend import Backend, EvaluatedModel, EvaluatedRun, ModelKey, ModelRun, Output, Task
from evaluation.inference.circuit_breaker import CircuitBreaker
from evaluation.inference.clients.document_client import DocumentClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import ANSWERED, STATUS_LABELS, Completion, ResponseStatus
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.inference.model_columns import ExternalModel
from evaluation.inference.prices import Price, TokenPrice
from slmstudio.contract.json_text import dumps
from slmstudio.contract.output_json import scorable_json, strip_reasoning
from slmstudio.database.fields import storable_text
from slmstudio.database.transactions import with_retries
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import Heartbeat
from slmstudio.runs.supervisor import ChildExit, Event, stop_on_signal, stop_requested
from slmstudio.storage.hashing import sha256_text

#: settings that all answers of one evaluation share; prices and concurrency may change
_SHARED_SETTINGS = {
    "url": "URL",
    "model": "model",
    "max_new_tokens": "token limit",
    "window_tokens": "window size",
    "reasoning_effort": "reasoning effort",
    "examples": "number of few-shot examples",
}


class ExternalBackend(Backend):
    """A model behind an endpoint. Only the job's thread uses the database; the others send requests."""

    is_external = True
    is_servable = False
    stage = "sending documents"

    def __init__(self, run: ModelRun) -> None:
        self._run = run

    @classmethod
    def of(cls, run: ModelRun) -> Self | None:
        return cls(run) if run.endpoint_id is not None else None

    @classmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        return {"endpoint": model} if isinstance(model, ExternalModel) else None

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> ExternalModel:
        """The row of the endpoint, which can be changed after a run."""
        assert self._run.endpoint is not None
        return self._run.endpoint

    @property
    def label(self) -> str:
        model = self._run.facts.get("model", self.endpoint.model)
        name = str(self.endpoint) if model == self.endpoint.model else f"{self.endpoint} ({model})"
        prompt = self._run.prompt
        return name if prompt is None else f"{name}, {prompt.short_label}"

    @property
    def kind(self) -> str:
        return "external"

    @property
    def key(self) -> ModelKey:
        name, url = (str(self._run.facts.get(name) or "") for name in ("model", "url"))
        return ModelKey(endpoint=self._run.endpoint_id, prompt=self._run.prompt_id, name=name, url=url)

    @property
    def choice_key(self) -> str:
        prompt = self._run.prompt
        return f"endpoint-{self._run.endpoint_id}" if prompt is None else f"prompt-{prompt.number}"

    @property
    def is_available(self) -> bool:
        return self.endpoint.retired_at is None

    @property
    def resumes(self) -> bool:
        return True

    def describe(self, facts: Mapping[str, Any], spec: str) -> dict[str, str]:
        effort, size = facts.get("reasoning_effort"), facts.get("window_tokens")
        return {
            "Prompt": f"instruction and schema, {facts.get('examples', 0)} few-shot examples (chat)",
            "Device": "external",
            **({"Reasoning effort": effort} if effort else {}),
            **({"Windows": f"{size:,} tokens"} if size else {}),
        }

    # -- what it can do ---------------------------------------------------------------------------------------------

    @classmethod
    def supports(cls, model: EvaluatedModel, mode: str) -> bool:
        constrained = isinstance(model, ExternalModel) and model.structured != "free"
        return mode == "free" or (mode == "constrained" and constrained)

    @classmethod
    def check_model(cls, model: EvaluatedModel, *, mode: str, concurrency: int) -> None:
        assert isinstance(model, ExternalModel)
        if model.retired_at is not None:
            raise Refused(f"The endpoint {model} was removed.", field="model")
        if not cls.supports(model, mode):
            kind = "grounded decoding" if mode == "grounded" else "structured output"
            raise Refused(f"{model} does not support {kind}.", field="mode")
        if concurrency > model.concurrency:
            raise Refused(f"{model} handles at most {model.concurrency} concurrent requests.", field="concurrency")

    def obstacle(self, facts: Mapping[str, Any] | None = None) -> str:
        endpoint = self.endpoint.reloaded()
        if endpoint.retired_at is not None:
            return f"The endpoint {endpoint} was removed, so no more documents are sent."
        if facts is not None and (changed := changed_settings(facts, settings_of(endpoint))):
            return f"The {changed} of {endpoint} changed after this evaluation. Evaluate it again."
        return ""

    def answer(self, task: Task) -> ChildExit:
        config = self.config(task)
        examples = [
            {"text": example["text"], "answer": example.get("answer") or task.compiled.canonical(example["gold"])}
            for example in task.examples()
        ]
        task.on_event({"event": "ready", "at_once": config.concurrency, "examples": len(examples)})
        stop = threading.Event()
        client = DocumentClient(config, task.compiled, task.instruction, stop, examples=examples)
        breaker, beat = CircuitBreaker(str(self.endpoint)), Heartbeat(task.job)
        in_flight: dict[Future[Completion], str] = {}
        with self._pool(task, config, client, stop) as pool:
            documents = iter(task.documents())
            while True:
                for key, text in islice(documents, config.concurrency - len(in_flight)):
                    task.before_request()
                    in_flight[pool.submit(client.read, text)] = key
                if not in_flight:
                    return ChildExit(ok=True)
                done, _ = wait(in_flight, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    completion = future.result()
                    task.on_output(Output(output_event(in_flight.pop(future), completion), completion))
                    breaker.record(completion)
                if stop_requested() or not beat():
                    return ChildExit(ok=False, interrupted=stop_requested(), cancelled=not stop_requested())

    def config(self, task: Task) -> EndpointConfig:
        """How the endpoint is called for a task. Constrained decoding asks for ``json_schema`` and nothing weaker.

        Raises:
            Refused: the key or the URL cannot be used.
        """
        config = endpoint_config(self.endpoint)
        if task.concurrency is not None:
            config = replace(config, concurrency=min(task.concurrency, config.concurrency))
        if task.mode is None:
            return config
        return replace(config, structured="json_schema" if task.mode == "constrained" else "free", logprobs=False)

    @contextmanager
    def _pool(
        self, task: Task, config: EndpointConfig, client: DocumentClient, stop: threading.Event
    ) -> Iterator[ThreadPoolExecutor]:
        """Threads that send requests. At the end they are stopped, and requests in flight are not waited for."""
        pool = ThreadPoolExecutor(config.concurrency, thread_name_prefix="endpoint")
        with stop_on_signal():
            try:
                yield pool
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                client.close()
                task.on_event({"event": "options", **client.options})
                if client.has_answered:
                    with_retries(lambda: self.endpoint.save_detected_options(client.options))

    def scorable_text(self, raw: str, *, benchmark: bool) -> str:
        """The JSON in an output without a fence, reasoning or other text, as users of such a model extract it. In a
        benchmark all candidates are scored as they write, except for reasoning: servers differ in whether they separate
        it.
        """
        return strip_reasoning(raw) if benchmark else scorable_json(raw)

    # -- price and identity -----------------------------------------------------------------------------------------

    def price(self, facts: Mapping[str, Any], price_per_hour: Any) -> Price:
        return TokenPrice(facts.get("price_in"), facts.get("price_out"))

    def facts(self) -> dict[str, Any]:
        endpoint = self.endpoint
        return {
            "device": "elsewhere",
            **settings_of(endpoint),
            "price_in": endpoint.price_in,
            "price_out": endpoint.price_out,
        }

    def identity(self, run: EvaluatedRun) -> dict[str, str]:
        return {"endpoint": _model_hash(*self._answered(run))}

    def current_identity(self) -> dict[str, str]:
        return {"endpoint": _model_hash(self.endpoint.model, self.endpoint.url)}

    def changed(self, run: EvaluatedRun) -> str:
        endpoint, (model, url) = self.endpoint, self._answered(run)
        if (model, url) == (endpoint.model, endpoint.url):
            return ""
        return f"{endpoint} is {endpoint.model} at {endpoint.url} now; these outputs are from {model} at {url}."

    def _answered(self, run: EvaluatedRun) -> tuple[str, str]:
        """Model name and URL that answered, as the run stored them."""
        return str(run.facts.get("model") or self.endpoint.model), str(run.facts.get("url") or self.endpoint.url)

    def spec_hash(self, run: EvaluatedRun) -> str:
        spec = {name: run.facts.get(name) for name in ("max_new_tokens", "examples")}
        spec |= {name: run.facts[name] for name in ("reasoning_effort", "window_tokens") if run.facts.get(name)}
        if self._run.prompt is not None:
            spec["prompt"] = self._run.prompt.prompt_sha256
        return sha256_text(dumps({**spec, "mode": str(run.mode), "instruction": run.dataset.instruction}))


def _model_hash(model: str, url: str) -> str:
    """SHA-256 over name and URL of an external model; its weights are not known here."""
    return sha256_text(dumps({"model": model, "url": url}))


def settings_of(endpoint: ExternalModel) -> dict[str, Any]:
    """The current settings of an endpoint, by the names of the facts that a run stores."""
    return {
        "url": endpoint.url,
        "model": endpoint.model,
        "max_new_tokens": endpoint.max_tokens,
        "window_tokens": endpoint.window_tokens,
        "reasoning_effort": endpoint.reasoning_effort or None,
    }


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The shared settings that differ between the facts of a run and those of now: "URL and model"; "" for none."""
    return " and ".join(
        label for name, label in _SHARED_SETTINGS.items() if name in now and before.get(name) != now[name]
    )


def output_event(key: str, completion: Completion) -> Event:
    """A completion as the event of a child process: the text verbatim, or why there is none."""
    answered = completion.status in ANSWERED
    finish_reason = "length" if completion.status == ResponseStatus.CUT_OFF else "stop"
    detail = f"{STATUS_LABELS[completion.status]}{f': {completion.detail}' if completion.detail else ''}"
    return {
        "id": key,
        "raw": storable_text(completion.content) if answered else "",
        "finish_reason": finish_reason if answered else "error",
        "error": "" if answered else storable_text(detail),
        "latency_ms": round(completion.seconds * 1000, 2),
        "prompt_tokens": completion.tokens - completion.output_tokens,
        "output_tokens": completion.output_tokens,
        "reasoning_tokens": completion.reasoning_tokens,
        "outcome": str(completion.status),
        "estimated": completion.estimated,
        "windows": completion.windows,
    }
