"""Our own interface: ``POST /api/v1/projects/{slug}/extract``."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from labeling.imports.formats.page_layout import laid_out
from labeling.imports.formats.page_text import matching_pages
from serving.gateway.app_state import Gateway
from serving.gateway.files import KIND, FileText, document_of, read_upload
from serving.gateway.idempotency import HEADER
from serving.gateway.intake.bodies import kind_of, text_field, unless_disconnected
from serving.gateway.problems import GatewayProblem
from serving.gateway.responder import ExtractionRequest, ExtractionResponse
from serving.gateway.routes import Route
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.wrapped_values import bare_text, wrapped_field
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values import evidence

_FIELDS = {"text", "page", "evidence", "caller"}
_FILE_FIELDS = {"evidence", "caller", "ocr", "layout"}


async def extract(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Answers one document: ``{"text", "page"?, "evidence"?, "caller"?}``, or a file with its fields. Raises
    GatewayProblem.

    With ``page``, the boxes of the text's lines, the model reads the text with the layout of its page.
    """
    slug = request.path_params["slug"]
    caller = await gateway.authorize(request, slug)
    route = gateway.route(slug)
    kind = kind_of(request)
    file = document = None
    if kind == KIND:
        body, file = await _read_file(request, gateway, route)
        document = document_of(file)
    elif kind == "application/json":
        body = await gateway.bodies.read_object(request, slug)
        gateway.reject_unknown(body, _FIELDS)
        if body.get("page") is not None:
            body["text"] = await asyncio.to_thread(laid_out_text, text_field(body, "text"), body["page"])
            document = {"text": body["text"]}
    else:
        raise GatewayProblem(415, "content_type", f"Send application/json, or a file as {KIND}.")
    extraction = ExtractionRequest(
        text=text_field(body, "text"),
        protocol="batch" if caller.is_batch else "extract",
        token_id=caller.token_id,
        limits=caller.limits,
        is_batch=caller.is_batch,
        key=request.headers.get(HEADER, ""),
        caller=str(body.get("caller") or "")[:80],
        id=request_id,
    )
    with_evidence = body.get("evidence", True) is True

    def render(answered: ExtractionResponse) -> bytes:
        content = response_of(slug, answered, extraction.text if with_evidence else None)
        if document is not None:
            content["document"] = document
        if file is not None:
            content["latency_ms"]["file"] = file.milliseconds
        return orjson.dumps(content)

    return await gateway.respond(request, caller, route, body, extraction, render)


async def _read_file(request: Request, gateway: Gateway, route: Route) -> tuple[dict[str, Any], FileText]:
    """The fields of an upload with the text of its file as ``text``, and what was read."""
    release = route.stable or route.candidate
    assert release is not None
    with tempfile.TemporaryDirectory(prefix="slm-upload-") as folder:
        upload = await read_upload(request, Path(folder))
        gateway.reject_unknown(upload.fields, _FILE_FIELDS)
        reading = gateway.files.read(
            upload.path, upload.name, schema=release.schema, ocr=upload.fields.get("ocr", "auto"),
            layout=_is_true(upload.fields, "layout", default="false"),
        )  # fmt: skip
        read = await unless_disconnected(request, reading)
    evidence_too = _is_true(upload.fields, "evidence", default="true")
    return {"text": read.text, "evidence": evidence_too, "caller": upload.fields.get("caller", "")}, read


def _is_true(fields: Mapping[str, str], name: str, *, default: str) -> bool:
    value = fields.get(name, default).lower()
    if value not in ("true", "false"):
        raise GatewayProblem(422, "field", f"{name} must be true or false.", field=name)
    return value == "true"


def laid_out_text(text: str, page: Any) -> str:
    """A text with the layout of its page or pages. Raises GatewayProblem where the page does not belong to the text."""
    try:
        return laid_out(text, matching_pages(page, text))[0]
    except ValueError as error:
        raise GatewayProblem(422, "field", f"page: {error}.", field="page") from error


def response_of(slug: str, answered: ExtractionResponse, text: str | None) -> dict[str, Any]:
    """The body of a response. ``text``: the document, for evidence; None: without."""
    model, larger = answered.output, answered.fallback
    fallback_ms = larger.milliseconds if larger is not None else 0.0
    others = model.queue_ms + model.model_ms + fallback_ms
    content: dict[str, Any] = {
        "request_id": answered.request_id,
        "model": f"{slug}@{answered.release.number}",
        "version": answered.release.number,
        # As the model wrote it: numbers keep all their digits.
        "output": orjson.Fragment(bare_text(answered.release.schema.schema, answered.raw).encode()),
        "valid": True,
        "answered_by": answered.source,
        "confidence": answered.confidence,
        "calibrated": answered.is_calibrated,
        "raw_confidence": {path: known[0] for path, known in model.confidence.items()},
        "needs_review": bool(answered.review_reason),
        "latency_ms": {
            "total": answered.total_ms,
            "queue": model.queue_ms,
            "model": model.model_ms,
            "fallback": fallback_ms,
            "gateway": round(max(0.0, answered.total_ms - others), 2),
        },
        "usage": {"prompt_tokens": model.prompt_tokens, "output_tokens": model.output_tokens},
    }
    if name := wrapped_field(answered.release.schema.schema):
        content["unwrapped"] = name
    content |= policy_members(answered)
    if text is not None:
        content["evidence"] = evidence_of(answered.release.schema, loads(answered.raw), text)
    return content


def policy_members(answered: ExtractionResponse) -> dict[str, Any]:
    """What the answer policy did: why a person should check the answer, and the larger model where it was asked."""
    members, larger = dict[str, Any](), answered.fallback
    if answered.review_reason:
        members["review"] = {"reason": answered.review_reason, "fields": answered.review_fields}
    if larger is not None:
        members["fallback"] = {
            "model": larger.model.name, "reason": larger.reason, "error": larger.code or None, "cost": larger.cost,
            "usage": {"prompt_tokens": larger.prompt_tokens, "output_tokens": larger.output_tokens},
        }  # fmt: skip
    return members


def evidence_of(schema: CompiledSchema, output: Any, text: str) -> dict[str, list[list[int]]]:
    """Field path -> the places of its value in the text, as [start, end] each; fields without one are left out."""
    places: dict[str, list[list[int]]] = {}
    for leaf in pair(schema.root, output, output):
        if leaf.output is None or leaf.field.evidence == "none":
            continue
        spans = evidence.find(leaf.output, leaf.field, text)
        if spans:
            places[leaf.path] = [[span.start, span.end] for span in spans]
    return places
