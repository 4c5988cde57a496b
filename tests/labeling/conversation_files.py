"""Files of exchanges in every shape, each of the same four invoices. Where a client writes a shape, it makes the file:
openai (batches, stored completions, tools, response formats), langsmith and langchain, langfuse (a page of its API),
opentelemetry. Others follow the documentation of their product. The records of Argilla are those that ``argilla`` 2.8
writes for these invoices.
"""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import openai
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langsmith.run_trees import RunTree
from openai.types.chat import ChatCompletionStoreMessage
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

SYSTEM = "You read invoices."
PREFIX = "Extract the fields of this invoice as JSON:\n"
MODEL = "gpt-4o-mini"


class Invoice(BaseModel):
    """The answer."""

    invoice_id: str
    total: float


DOCUMENTS = [f"Invoice A-{number} from vendor {chr(65 + number)}. Total {number}.50 EUR" for number in range(4)]
ANSWERS = [{"invoice_id": f"A-{number}", "total": number + 0.5} for number in range(4)]
PROMPTS = [PREFIX + document for document in DOCUMENTS]
TEXTS = [json.dumps(answer) for answer in ANSWERS]


def lines(rows: list[Any]) -> str:
    """JSON lines."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def messages(number: int) -> list[dict[str, Any]]:
    """What a model is asked."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPTS[number]}]


def tool() -> Any:
    """The invoice as a function, as the client writes it."""
    return openai.pydantic_function_tool(Invoice, name="store_invoice")


def calls() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The body of each request that the client sends, and of its response, as the client reads it."""
    sent: list[dict[str, Any]] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        number = len(sent) - 1
        message = {"role": "assistant", "content": TEXTS[number], "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        body = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL}
        return httpx.Response(200, json={**body, "choices": [choice]})

    http = httpx.Client(transport=httpx.MockTransport(respond))
    client = openai.OpenAI(api_key="none", base_url="http://localhost/v1", http_client=http)  # type: ignore[arg-type]
    answered = [
        client.chat.completions.parse(model=MODEL, messages=messages(n), response_format=Invoice)  # type: ignore[arg-type]
        for n in range(4)
    ]
    return [
        (body, completion.model_dump(mode="json", warnings=False))
        for body, completion in zip(sent, answered, strict=True)
    ]


def batch_input() -> str:
    """The input of a batch."""
    return lines(
        [
            {"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            for n, (body, _) in enumerate(calls())
        ]
    )


def batch_output() -> str:
    """The output of a batch, in another order."""
    rows = [
        {"id": f"batch_req_{n}", "custom_id": f"row-{n}", "error": None,
         "response": {"status_code": 200, "request_id": f"req_{n}", "body": body}}
        for n, (_, body) in enumerate(calls())
    ]  # fmt: skip
    return lines(rows[::-1])


def stored() -> str:
    """Stored completions, each with the page of its input messages."""
    rows = []
    for number, (_, completion) in enumerate(calls()):
        listed = [
            ChatCompletionStoreMessage.model_construct(id=f"m{n}", **message).model_dump(mode="json")
            for n, message in enumerate(messages(number))
        ]
        rows.append({**completion, "messages": {"object": "list", "data": listed}})
    return lines(rows)


def langsmith() -> str:
    """Runs of a chain and of the model in it, as the client of LangSmith serializes them."""
    rows = []
    for number in range(4):
        chain = RunTree(name="extract", run_type="chain", inputs={"text": DOCUMENTS[number]})
        asked = [[dumpd(SystemMessage(SYSTEM)), dumpd(HumanMessage(PROMPTS[number]))]]
        run = chain.create_child(
            name="ChatOpenAI", run_type="llm", inputs={"messages": asked}, extra={"metadata": {"ls_model_name": MODEL}}
        )
        run.end(outputs={"generations": [[{"text": TEXTS[number], "message": dumpd(AIMessage(TEXTS[number]))}]]})
        rows += [
            json.loads(written.model_dump_json(exclude={"client", "ls_client", "parent_run", "child_runs"}))
            for written in (chain, run)
        ]
    return lines(rows)


def otlp() -> str:
    """Spans of two scopes, as the SDK of OpenTelemetry exports them; structured messages and JSON texts."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests")
    for number in range(4):
        with tracer.start_as_current_span("handle"), tracer.start_as_current_span(f"chat {MODEL}") as span:
            asked = [{"role": "user", "parts": [{"type": "text", "content": PROMPTS[number]}]}]
            reply = [
                {"role": "assistant", "parts": [{"type": "text", "content": TEXTS[number]}], "finish_reason": "stop"}
            ]
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute("gen_ai.request.model", MODEL)
            span.set_attribute("gen_ai.system_instructions", json.dumps([{"type": "text", "content": SYSTEM}]))
            span.set_attribute("gen_ai.input.messages", json.dumps(asked))
            span.set_attribute("gen_ai.output.messages", json.dumps(reply))
    spans = memory.get_finished_spans()
    return lines([MessageToDict(encode_spans(spans[start : start + 4])) for start in (0, 4)])


def langfuse() -> str:
    """Observations as the export of a table writes them: camel case, input and output parsed."""
    rows: list[dict[str, Any]] = []
    for number in range(4):
        common = {
            "traceId": f"t{number}",
            "projectId": "p",
            "startTime": "2026-01-14T10:00:00.000Z",
            "level": "DEFAULT",
        }
        rows.append({"id": f"span{number}", "type": "SPAN", **common, "input": DOCUMENTS[number], "output": None})
        rows.append({
            "id": f"gen{number}", "type": "GENERATION", **common, "model": MODEL,
            "input": messages(number), "output": {"role": "assistant", "content": TEXTS[number]},
        })  # fmt: skip
    return lines(rows)


def langfuse_blob() -> str:
    """Observations as the export to blob storage writes them: snake case, input and output as JSON texts."""
    return lines(
        [
            {"id": f"gen{n}", "trace_id": f"t{n}", "type": "GENERATION", "start_time": "2026-01-14 10:00:00.000000",
             "provided_model_name": MODEL, "input": json.dumps(messages(n)), "output": TEXTS[n]}
            for n in range(4)
        ]
    )  # fmt: skip


def langfuse_page() -> str:
    """A page of the observations API, with its observations and where it goes on, as Langfuse's client writes it."""
    from langfuse.api import ObservationsV2Meta, ObservationsV2Response, ObservationV2  # takes a second to import

    start = datetime(2026, 1, 14, 10, tzinfo=UTC)
    rows = []
    for number in range(4):
        common: dict[str, Any] = {"trace_id": f"t{number}", "start_time": start, "project_id": "p", "level": "DEFAULT"}
        answer = {"role": "assistant", "content": TEXTS[number]}
        rows += [
            ObservationV2(id=f"span{number}", type="SPAN", **common, input=DOCUMENTS[number]),
            ObservationV2(
                id=f"gen{number}", type="GENERATION", **common, model=MODEL, input=messages(number), output=answer
            ),
        ]
    page: str = ObservationsV2Response(data=rows, meta=ObservationsV2Meta(cursor=None)).json()
    return page


def _anthropic(number: int) -> dict[str, Any]:
    reply = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "store", "input": ANSWERS[number]}],
    }
    return {"system": SYSTEM, "messages": [{"role": "user", "content": PROMPTS[number]}, reply]}


def _gemini(number: int) -> dict[str, Any]:
    return {
        "systemInstruction": {"role": "system", "parts": [{"text": SYSTEM}]},
        "contents": [
            {"role": "user", "parts": [{"text": PROMPTS[number]}]},
            {"role": "model", "parts": [{"text": TEXTS[number]}]},
        ],
    }


def _openai_tool(number: int) -> dict[str, Any]:
    function = {"name": "store_invoice", "arguments": TEXTS[number]}
    reply = {"role": "assistant", "tool_calls": [{"id": "call", "type": "function", "function": function}]}
    return {"messages": [*messages(number), reply], "tools": [tool()], "parallel_tool_calls": False}


def _openai_text(number: int) -> dict[str, Any]:
    reply = {"role": "assistant", "content": f"Here it is:\n```json\n{TEXTS[number]}\n```"}
    return {"messages": [*messages(number), reply]}


def _sharegpt(number: int) -> dict[str, Any]:
    reply = [("system", SYSTEM), ("human", PROMPTS[number]), ("gpt", TEXTS[number])]
    return {"id": f"s{number}", "conversations": [{"from": who, "value": text} for who, text in reply]}


def _kiln_template(number: int) -> dict[str, Any]:
    """Kiln's ``huggingface_chat_template_jsonl``."""
    return {"conversations": [*messages(number), {"role": "assistant", "content": TEXTS[number]}]}


def _kiln_template_call(number: int) -> dict[str, Any]:
    """Kiln's ``huggingface_chat_template_toolcall_jsonl``, whose arguments are an object."""
    function = {"name": "task_response", "id": f"{number:09}", "arguments": ANSWERS[number]}
    call = {"type": "function", "function": function}
    return {"conversations": [*messages(number), {"role": "assistant", "tool_calls": [call]}]}


def argilla(number: int) -> dict[str, Any]:
    """A record of Argilla as ``to_json`` and ``to_disk`` write it: the first was answered, the others are suggested."""
    given = ANSWERS[number].items()
    user = "7f0b4f4e-0000-4000-8000-000000000001"
    return {
        "id": f"a{number}", "fields": {"text": PROMPTS[number]}, "metadata": {"source": "mail"},
        "suggestions": {name: {"value": value, "score": None, "agent": MODEL} for name, value in given},
        "responses": {} if number else {name: [{"value": value, "user_id": user}] for name, value in given},
        "vectors": {}, "status": "pending" if number else "completed", "_server_id": None,
    }  # fmt: skip


def argilla_flat(number: int) -> dict[str, Any]:
    """A record as ``to_datasets`` writes it: of two people, one submitted and one left a draft."""
    users = ["7f0b4f4e-0000-4000-8000-000000000001", "7f0b4f4e-0000-4000-8000-000000000002"]
    row: dict[str, Any] = {
        "id": f"a{number}",
        "status": "pending",
        "_server_id": None,
        "text": PROMPTS[number],
        "source": "mail",
    }
    for name, value in ANSWERS[number].items():
        row |= {
            f"{name}.responses": None if number else [value, None],
            f"{name}.responses.users": None if number else users,
            f"{name}.responses.status": None if number else ["submitted", "draft"],
            f"{name}.suggestion": value,
            f"{name}.suggestion.score": None,
            f"{name}.suggestion.agent": MODEL,
        }
    return row


def _litellm(number: int) -> dict[str, Any]:
    reply = {"choices": [{"message": {"role": "assistant", "content": TEXTS[number]}}]}
    return {
        "id": f"l{number}", "call_type": "acompletion", "status": "success", "startTime": 1_700_000_000.25,
        "model": MODEL, "messages": messages(number), "response": reply, "model_parameters": {"temperature": 0},
    }  # fmt: skip


def _helicone(number: int) -> dict[str, Any]:
    return {
        "request_id": f"h{number}", "request_created_at": "2026-01-14T10:00:00Z", "request_model": MODEL,
        "request_body": {"model": MODEL, "messages": messages(number)},
        "response_body": {"model": MODEL, "choices": [{"message": {"role": "assistant", "content": TEXTS[number]}}]},
    }  # fmt: skip


def of(rows: Any) -> str:
    """The file of four rows."""
    return lines([rows(number) for number in range(4)])


#: name of the file -> its shape and its text
FILES: dict[str, tuple[str, Any]] = {
    "openai.jsonl": ("openai", lambda: of(_openai_text)),
    "openai-tools.jsonl": ("openai", lambda: of(_openai_tool)),
    "bedrock.jsonl": ("anthropic", lambda: of(_anthropic)),
    "gemini.jsonl": ("gemini", lambda: of(_gemini)),
    "alpaca.json": (
        "alpaca",
        lambda: json.dumps(
            [{"instruction": SYSTEM, "input": PROMPTS[n], "output": TEXTS[n]} for n in range(4)], indent=1
        ),
    ),
    "sharegpt.jsonl": ("sharegpt", lambda: of(_sharegpt)),
    "kiln-template.jsonl": ("sharegpt", lambda: of(_kiln_template)),
    "kiln-template-call.jsonl": ("sharegpt", lambda: of(_kiln_template_call)),
    "argilla.json": ("argilla", lambda: json.dumps([argilla(n) for n in range(4)])),
    "argilla-flat.jsonl": ("argilla", lambda: of(argilla_flat)),
    "pairs.jsonl": ("pairs", lambda: of(lambda n: {"prompt": PROMPTS[n], "completion": f" {TEXTS[n]}"})),
    "stored.jsonl": ("stored", stored),
    "langsmith.jsonl": ("langsmith", langsmith),
    "langfuse.jsonl": ("langfuse", langfuse),
    "langfuse-blob.jsonl": ("langfuse", langfuse_blob),
    "langfuse-page.json": ("langfuse", langfuse_page),
    "otlp.jsonl": ("otlp", otlp),
    "litellm.jsonl": ("log", lambda: of(_litellm)),
    "helicone.jsonl": ("log", lambda: of(_helicone)),
}
#: shapes that name neither a system prompt nor a model
WITHOUT_SYSTEM = {"pairs.jsonl", "argilla.json", "argilla-flat.jsonl"}


def fine_tuning_file(rows: int) -> str:
    """A chat fine-tuning file of OpenAI."""
    return lines(
        [
            {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {
                        "role": "user",
                        "content": f"{PREFIX}Invoice B-{n} of vendor {chr(65 + n % 26)}. Total {n}.50 EUR",
                    },
                    {"role": "assistant", "content": json.dumps({"invoice_id": f"B-{n}", "total": n + 0.5})},
                ]
            }
            for n in range(rows)
        ]
    )
