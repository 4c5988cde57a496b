"""The interface as a whole: its modules, its OpenAPI document, its addresses."""

import re
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI

from labeling.api import (
    access,
    datasets,
    documents,
    imports,
    predictions,
    problems,
    projects,
    review,
    tokens,
    webhooks,
    work,
)
from labeling.api.schemas.common import words
from labeling.api.wire import JSON, ExactParser, ExactRenderer
from labeling.imports.services import MAX_UPLOAD
from labeling.integrations.tokens import SCOPES
from slmstudio.contract.json_text import dumps
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.problems import MEDIA_TYPE, problem

VERSION = "1"
PREFIX = "/api/v1"
_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
DESCRIPTION = """\
The labeling side over HTTP, by the rules of the pages: the same services, the same rights.

**Token.** Every member makes tokens on the project's token page; a token acts as its member in that one project, within
its scopes, and never can more than the member's role allows at that moment. Send `Authorization: Bearer slm_...`.

**JSON** is read strictly and exactly: numbers keep every digit in both directions (read them as decimals),
duplicate names, NaN, NUL and nesting over 64 levels are refused with line and column. A body has at most 20 MB.

**Errors** are `application/problem+json`: `status`, `detail` (a sentence), and `errors` naming rows or fields.

**Pages** go by key: ask again with the `next_after` of the answer as `after`, until it is null.
"""


api = NinjaAPI(
    title="SLM Studio",
    version=VERSION,
    description=DESCRIPTION,
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,
    auth=[access.Token(), access.Browser()],
    parser=ExactParser(),
    renderer=ExactRenderer(),
)
problems.install(api)
_BELOW = "/projects/{slug:slug}"
_ROUTERS = [
    ("/projects", projects.router),
    (f"{_BELOW}/documents", documents.router),
    (_BELOW, work.router),
    (_BELOW, review.router),
    (f"{_BELOW}/imports", imports.router),
    (f"{_BELOW}/predictions", predictions.router),
    (f"{_BELOW}/datasets", datasets.router),
    (_BELOW, datasets.below_project),
    (f"{_BELOW}/webhooks", webhooks.router),
    (f"{_BELOW}/tokens", tokens.router),
]
for _prefix, _router in _ROUTERS:
    for _path, _view in _router.path_operations.items():
        _route = f"{PREFIX}{_prefix}{_path}".strip("/").replace("{", "<").replace("}", ">")
        for _operation in _view.operations:
            _scope = (_operation.openapi_extra or {})["x-scope"]
            access.SCOPE_OF.update({(_route, _method): _scope for _method in _operation.methods})
    api.add_router(_prefix, _router)
#: the one address that takes a file
_FILES_AT = f"{PREFIX}/projects/{{slug}}/imports"
_FILE_HANDLERS = [f"django.core.files.uploadhandler.{name}FileUploadHandler" for name in ("Memory", "Temporary")]


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document: what ninja makes of the operations, with what it cannot know put right."""
    made: dict[str, Any] = dict(api.get_openapi_schema(path_prefix=PREFIX))
    for operations in made["paths"].values():
        for operation in operations.values():
            scope = operation["x-scope"]
            operation["operationId"] = operation["operationId"].removeprefix("labeling_api_").partition("_")[2]
            operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
            for status, answer in operation["responses"].items():
                answer["description"] = words(int(status))
                if int(status) >= 400 and "content" in answer:
                    answer["content"] = {MEDIA_TYPE: next(iter(answer["content"].values()))}
            for kind in operation.pop("x-files", ()):
                sent = {kind: {"schema": {} if kind == JSON else {"type": "string", "format": "binary"}}}
                operation["responses"][200].setdefault("content", {}).update(sent)
    made["components"]["securitySchemes"] = {
        "Token": {"type": "http", "scheme": "bearer", "description": (access.Token.__doc__ or "").strip()},
        "Browser": {
            "type": "apiKey",
            "in": "cookie",
            "name": access.Browser.param_name,
            "description": (access.Browser.__doc__ or "").strip(),
        },
    }
    made["security"] = [{"Token": []}, {"Browser": []}]
    for operations in made["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    made["x-scopes"] = SCOPES
    made.pop("servers", None)
    return made


def openapi(request: HttpRequest) -> HttpResponse:
    """The document, for whoever has a token or is logged in."""
    if request.method not in ("GET", "HEAD"):
        return _not_allowed(["GET", "HEAD"])
    try:
        if not any(ask(request) for ask in (access.Token(), access.Browser())):
            raise problems.no_token()
    except problems.Problem as refusal:
        return refusal.response()
    return HttpResponse(dumps(document()), content_type=JSON)


def docs(request: HttpRequest) -> HttpResponse:
    """The document as a page one can try things on."""
    return render(request, "labeling/api/docs.html", {"prefix": PREFIX})


def _no_such_address(request: HttpRequest, rest: str = "") -> HttpResponse:
    return problem(404, f"There is nothing at {request.path[:200]}. What there is, is at /api/docs.")


def _not_allowed(allowed: list[str]) -> HttpResponse:
    return problem(405, f"This address takes {' and '.join(allowed)}.", headers={"Allow": ", ".join(allowed)})


def _too_long(request: HttpRequest) -> HttpResponse | None:
    """413 before a byte of the body is read."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return problem(400, "Content-Length is no number.")
    files = request.content_type == "multipart/form-data"
    most = MAX_UPLOAD + AROUND_FILES if files else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return problems.too_big(files) if most is not None and length > most else None


def _unknown_parameter(request: HttpRequest, address: str) -> HttpResponse | None:
    """422 for a parameter that an operation does not have, so that a slip of the pen is no silent nothing."""
    if not request.GET or request.method is None:
        return None
    operation = document()["paths"].get(address, {}).get(request.method.lower())
    if operation is None:
        return None
    known = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    unknown = sorted(set(request.GET).difference(known))
    if not unknown:
        return None
    there = f"there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else "there are none"
    errors = [{"field": name[:100], "message": "is not known here"} for name in unknown[:50]]
    return problem(422, f"There is no parameter {unknown[0][:100]}; {there}.", errors)


def _may_send_files(request: HttpRequest, **kwargs: Any) -> HttpResponse | None:
    """The refusal of who may not import, before the body is read."""
    try:
        refusal = access.refusal_before_body(request)
    except (Http404, PermissionDenied) as error:
        return api.on_exception(request, error)
    return refusal.response() if refusal is not None else None


def _ours(pattern: Any) -> URLPattern:
    """An address of the API: not sent to the login page, and without the plain text of a 405."""
    inner = pattern.callback
    address = f"{PREFIX}/" + _ARGUMENT.sub(r"{\1}", str(pattern.pattern))

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refusal = _too_long(request) or _unknown_parameter(request, address)
        if refusal is not None:
            return refusal
        answer: HttpResponseBase = inner(request, *args, **kwargs)
        if answer.status_code == 405 and isinstance(answer, HttpResponseNotAllowed):
            return _not_allowed(sorted(name.strip() for name in answer["Allow"].split(",")))
        return answer

    view.csrf_exempt = True  # type: ignore[attr-defined]  # access.Browser asks for the token itself
    if address == _FILES_AT:
        view = takes_files(MAX_UPLOAD + AROUND_FILES, *_FILE_HANDLERS, check=_may_send_files)(view)
    return path(f"v1/{pattern.pattern}", login_not_required(view), name=f"api_{pattern.name}")


def addresses() -> list[URLPattern]:
    """Everything below /api/."""
    patterns, _, _ = api.urls
    return [
        path("v1/openapi.json", csrf_exempt(login_not_required(openapi)), name="api_openapi"),
        path("docs", docs, name="api_docs"),
        *(_ours(pattern) for pattern in patterns if getattr(pattern, "name", "") != "api-root"),
        path("", csrf_exempt(login_not_required(_no_such_address)), name="api_nothing"),
        path("<path:rest>", csrf_exempt(login_not_required(_no_such_address)), name="api_nothing"),
    ]
