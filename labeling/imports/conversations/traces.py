"""Traces: exports of Langfuse and LangSmith, and OpenTelemetry's spans of generative AI as OTLP JSON."""

import re
from collections.abc import Iterator
from typing import Any, Final

from labeling.imports.conversations.exchanges import (
    Exchange,
    ShapeError,
    answer_of,
    as_dict,
    exchange,
    logged,
    messages_of,
    parsed,
    schema_of,
    system_of,
    text_of,
    time_text,
)

# -- Langfuse ----------------------------------------------------------------------------------------------------------

_TRACE_KEYS: Final = frozenset({"traceId", "trace_id", "sessionId", "session_id", "projectId", "project_id"})


def is_langfuse(value: dict[str, Any]) -> bool:
    """An observation, a trace with its observations, or a page of either."""
    if isinstance(value.get("observations"), list):
        return True
    if isinstance(value.get("data"), list):
        return any(is_langfuse(as_dict(item)) for item in value["data"][:10])
    return "input" in value and "output" in value and bool(_TRACE_KEYS & value.keys())


def read_langfuse(value: dict[str, Any]) -> Iterator[Exchange]:
    """The generations in a row; spans and events are not calls of a model and are left out."""
    listed = value.get("observations", value.get("data"))
    if isinstance(listed, list):
        for item in listed:
            yield from read_langfuse(as_dict(item))
        return
    if str(value.get("type") or "GENERATION").upper() != "GENERATION":
        return
    asked = parsed(value.get("input"))
    if asked is None:
        raise ShapeError("the generation has no input")
    model = value.get("model") or value.get("provided_model_name") or value.get("providedModelName")
    parameters = as_dict(parsed(value.get("modelParameters", value.get("model_parameters"))))
    body = asked if isinstance(asked, dict) else {"messages": messages_of(asked)}
    yield logged(
        body, parsed(value.get("output")), id=str(value.get("id", "")), model=str(model or ""),
        time=time_text(value.get("startTime", value.get("start_time"))),
        schema=schema_of(body) or schema_of({"response_format": parsed(parameters.get("response_format"))}),
    )  # fmt: skip


# -- LangSmith ---------------------------------------------------------------------------------------------------------


def is_langsmith(value: dict[str, Any]) -> bool:
    """A run, or a page of runs."""
    for name in ("runs", "data"):
        if isinstance(value.get(name), list) and value[name]:
            return "run_type" in as_dict(value[name][0])
    return isinstance(value.get("run_type"), str) and "inputs" in value


def read_langsmith(value: dict[str, Any]) -> Iterator[Exchange]:
    """The runs of models in a row; chains and tools are left out."""
    listed = value.get("runs", value.get("data"))
    if isinstance(listed, list):
        for item in listed:
            yield from read_langsmith(as_dict(item))
        return
    if value.get("run_type") != "llm":
        return
    inputs, outputs = as_dict(parsed(value.get("inputs"))), as_dict(parsed(value.get("outputs")))
    extra = as_dict(parsed(value.get("extra")))
    parameters, metadata = as_dict(extra.get("invocation_params")), as_dict(extra.get("metadata"))
    if "messages" not in inputs and isinstance(inputs.get("prompts"), list):
        messages = messages_of("\n".join(map(str, inputs["prompts"])))
    else:
        messages = messages_of(inputs)
    answered = _generation(outputs)
    yield exchange(
        [_langchain(message) for message in messages],
        answered if answered is None or isinstance(answered, str) else _langchain(answered),
        system=system_of(inputs), schema=schema_of(inputs) or schema_of(parameters), id=str(value.get("id", "")),
        model=str(metadata.get("ls_model_name") or parameters.get("model") or parameters.get("model_name") or ""),
        time=time_text(value.get("start_time")),
    )  # fmt: skip


def _generation(outputs: dict[str, Any]) -> Any:
    generation: Any = outputs.get("generations")
    while isinstance(generation, list) and generation:
        generation = generation[0]
    if isinstance(generation, dict):
        return generation.get("message", generation.get("text"))
    messages = outputs.get("messages")
    if isinstance(messages, list) and messages:
        return messages[-1]
    inner = outputs.get("output", outputs.get("message"))
    return answer_of(inner if inner is not None else outputs) if outputs else None


def _langchain(message: Any) -> Any:
    """A serialized message of LangChain as one of OpenAI; other messages as they are."""
    body = as_dict(message)
    inner = as_dict(body.get("kwargs")) or as_dict(body.get("data"))
    if not inner:
        return message
    names = body.get("id")
    name = str(names[-1]) if isinstance(names, list) and names else str(body.get("type", ""))
    role = name.removesuffix("Chunk").removesuffix("Message").lower() or str(inner.get("type", ""))
    more = as_dict(inner.get("additional_kwargs"))
    calls = inner.get("tool_calls") or more.get("tool_calls")
    return {
        "role": role,
        "content": inner.get("content"),
        "tool_calls": calls,
        "function_call": more.get("function_call"),
    }


# -- OpenTelemetry -----------------------------------------------------------------------------------------------------

_NUMBERED = re.compile(
    r"(?:gen_ai|llm)\.(prompt|completion|input_messages|output_messages)\.(\d+)\.(?:message\.)?(role|content)"
)


def is_otlp(value: dict[str, Any]) -> bool:
    """An export of spans."""
    return isinstance(value.get("resourceSpans", value.get("resource_spans")), list)


def read_otlp(value: dict[str, Any]) -> Iterator[Exchange]:
    """The spans with messages of a model; other spans are left out."""
    for resource in value.get("resourceSpans", value.get("resource_spans")) or ():
        for scope in as_dict(resource).get("scopeSpans", as_dict(resource).get("scope_spans")) or ():
            for span in as_dict(scope).get("spans") or ():
                yield from _span(as_dict(span))


def _span(span: dict[str, Any]) -> Iterator[Exchange]:
    attributes = _attributes(span.get("attributes"))
    for event in span.get("events") or ():
        attributes = {**_attributes(as_dict(event).get("attributes")), **attributes}
    asked, answered = parsed(attributes.get("gen_ai.input.messages")), parsed(attributes.get("gen_ai.output.messages"))
    if not isinstance(asked, list):
        asked = _numbered(attributes, ("prompt", "input_messages"))
        answered = _numbered(attributes, ("completion", "output_messages"))
    if not asked:
        return
    model = (
        attributes.get("gen_ai.response.model")
        or attributes.get("gen_ai.request.model")
        or attributes.get("llm.model_name")
    )
    tools = parsed(attributes.get("gen_ai.tool.definitions"))
    yield exchange(
        [*asked, *(answered if isinstance(answered, list) else ())],
        system=text_of(parsed(attributes.get("gen_ai.system_instructions"))), model=str(model or ""),
        schema=schema_of({"tools": tools}),
        time=time_text(span.get("startTimeUnixNano", span.get("start_time_unix_nano"))),
        id=str(attributes.get("gen_ai.response.id") or span.get("spanId") or ""),
    )  # fmt: skip


def _attributes(listed: Any) -> dict[str, Any]:
    pairs = (as_dict(pair) for pair in (listed if isinstance(listed, list) else ()))
    return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs}


def _value(value: Any) -> Any:
    """A typed value of OTLP as JSON."""
    for name, inner in as_dict(value).items():
        if name == "arrayValue":
            return [_value(item) for item in as_dict(inner).get("values") or ()]
        if name == "kvlistValue":
            return _attributes(as_dict(inner).get("values"))
        return inner
    return None


def _numbered(attributes: dict[str, Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Messages that are spread over attributes, as OpenLLMetry and OpenInference write them."""
    messages: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        match = _NUMBERED.fullmatch(key)
        if match and match[1] in names:
            default = "assistant" if match[1] in ("completion", "output_messages") else "user"
            messages.setdefault(int(match[2]), {"role": default})[match[3]] = value
    return [messages[number] for number in sorted(messages)]
