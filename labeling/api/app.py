"""The REST interface: its routers, OpenAPI document and URLs."""

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
    annotation,
    datasets,
    documents,
    imports,
    predictions,
    problems,
    projects,
    review,
    tokens,
    webhooks,
)
from labeling.api.operations import status_text
from labeling.api.routers import UPLOAD_ROUTES, more_routers
from labeling.api.wire import JSON, ExactParser, ExactRenderer
from labeling.imports.uploads import MAX_UPLOAD
from labeling.integrations.tokens import SCOPES
from slmstudio.contract.json_text import dumps
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.views import MEDIA_TYPE, problem

VERSION = "1"
PREFIX = "/api/v1"
_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
DESCRIPTION = """\
The REST interface of SLM Studio, with the same rules and permissions as the web interface.

**Authentication.** Members create tokens on the project's token page. A token acts as its member in that project,
within its scopes and the member's current role. Send `Authorization: Bearer slm_...`.

**JSON** is strict and exact: numbers keep all digits in both directions (parse them as decimals). Duplicate names, NaN,
NUL and nesting over 64 levels are errors with line and column. The maximum size of a body is 20 MB.

**Errors** are `application/problem+json`: `status`, `detail` (a sentence), and `errors` naming rows or fields.

**Pagination** is by key: repeat the request with `next_after` of the response as `after`, until it is null.
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
_PROJECT = "/projects/{slug:slug}"
_ROUTERS = [
    ("/projects", projects.router),
    (f"{_PROJECT}/documents", documents.router),
    (_PROJECT, annotation.router),
    (_PROJECT, review.router),
    (f"{_PROJECT}/imports", imports.router),
    (f"{_PROJECT}/predictions", predictions.router),
    (f"{_PROJECT}/datasets", datasets.router),
    (_PROJECT, datasets.project_router),
    (f"{_PROJECT}/webhooks", webhooks.router),
    (f"{_PROJECT}/tokens", tokens.router),
]
for _prefix, _router in [*_ROUTERS, *more_routers.call()]:
    for _path, _view in _router.path_operations.items():
        _route = f"{PREFIX}{_prefix}{_path}".strip("/").replace("{", "<").replace("}", ">")
        for _operation in _view.operations:
            _scope = (_operation.openapi_extra or {})["x-scope"]
            access.ROUTE_SCOPES.update({(_route, _method): _scope for _method in _operation.methods})
    api.add_router(_prefix, _router)
_FILE_HANDLERS = [f"django.core.files.uploadhandler.{name}FileUploadHandler" for name in ("Memory", "Temporary")]


def _operation_id(name: str) -> str:
    """ninja's id without the module; operations of higher apps name their own."""
    ours = name.removeprefix("labeling_api_")
    return ours.partition("_")[2] if ours != name else name


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document: that of ninja, with corrections."""
    document: dict[str, Any] = dict(api.get_openapi_schema(path_prefix=PREFIX))
    for operations in document["paths"].values():
        for operation in operations.values():
            scope = operation["x-scope"]
            operation["operationId"] = _operation_id(operation["operationId"])
            operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
            for status, answer in operation["responses"].items():
                answer["description"] = status_text(int(status))
                if int(status) >= 400 and "content" in answer:
                    answer["content"] = {MEDIA_TYPE: next(iter(answer["content"].values()))}
            for kind in operation.pop("x-files", ()):
                sent = {kind: {"schema": {} if kind == JSON else {"type": "string", "format": "binary"}}}
                operation["responses"][200].setdefault("content", {}).update(sent)
    document["components"]["securitySchemes"] = {
        "Token": {"type": "http", "scheme": "bearer", "description": (access.Token.__doc__ or "").strip()},
        "Browser": {
            "type": "apiKey",
            "in": "cookie",
            "name": access.Browser.param_name,
            "description": (access.Browser.__doc__ or "").strip(),
        },
    }
    document["security"] = [{"Token": []}, {"Browser": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    document["x-scopes"] = SCOPES
    document.pop("servers", None)
    return document


def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document, with a token or session."""
    if request.method not in ("GET", "HEAD"):
        return _not_allowed(["GET", "HEAD"])
    try:
        if not any(authenticate(request) for authenticate in (access.Token(), access.Browser())):
            raise problems.authentication_required()
    except problems.Problem as refusal:
        return refusal.response()
    return HttpResponse(dumps(document()), content_type=JSON)


def docs(request: HttpRequest) -> HttpResponse:
    """The interactive API reference."""
    return render(request, "labeling/api/docs.html", {"prefix": PREFIX})


def _no_such_address(request: HttpRequest, rest: str = "") -> HttpResponse:
    return problem(404, f"There is no operation at {request.path[:200]}. See /api/docs.")


def _not_allowed(allowed: list[str]) -> HttpResponse:
    return problem(405, f"This URL supports {' and '.join(allowed)}.", headers={"Allow": ", ".join(allowed)})


def _too_long(request: HttpRequest) -> HttpResponse | None:
    """413 before the body is read."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return problem(400, "Content-Length is not a number.")
    files = request.content_type == "multipart/form-data"
    limit = MAX_UPLOAD + AROUND_FILES if files else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return problems.payload_too_large(files) if limit is not None and length > limit else None


def _unknown_parameter(request: HttpRequest, address: str) -> HttpResponse | None:
    """422 for unknown query parameters, so typing errors are not ignored."""
    if not request.GET or request.method is None:
        return None
    operation = document()["paths"].get(address, {}).get(request.method.lower())
    if operation is None:
        return None
    known = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    unknown = sorted(set(request.GET).difference(known))
    if not unknown:
        return None
    supported = f"Supported: {', '.join(known)}." if known else "The operation has no parameters."
    errors = [{"field": name[:100], "message": "is unknown"} for name in unknown[:50]]
    return problem(422, f"Unknown parameter {unknown[0][:100]}. {supported}", errors)


def _may_send_files(request: HttpRequest, **kwargs: Any) -> HttpResponse | None:
    """The response to an unauthorized import, before the body is read."""
    try:
        refusal = access.early_rejection(request)
    except (Http404, PermissionDenied) as error:
        return api.on_exception(request, error)
    return refusal.response() if refusal is not None else None


def _url(pattern: Any) -> URLPattern:
    """A URL of the API: without a redirect to the sign-in page, with 405 as a problem."""
    inner = pattern.callback
    address = f"{PREFIX}/" + _ARGUMENT.sub(r"{\1}", str(pattern.pattern))

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        rejection = _too_long(request) or _unknown_parameter(request, address)
        if rejection is not None:
            return rejection
        response: HttpResponseBase = inner(request, *args, **kwargs)
        if response.status_code == 405 and isinstance(response, HttpResponseNotAllowed):
            return _not_allowed(sorted(name.strip() for name in response["Allow"].split(",")))
        return response

    view.csrf_exempt = True  # type: ignore[attr-defined]  # access.Browser checks the CSRF token
    if address.removeprefix(PREFIX) in UPLOAD_ROUTES:
        view = takes_files(MAX_UPLOAD + AROUND_FILES, *_FILE_HANDLERS, check=_may_send_files)(view)
    return path(f"v1/{pattern.pattern}", login_not_required(view), name=f"api_{pattern.name}")


def addresses() -> list[URLPattern]:
    """The URLs below /api/."""
    patterns, _, _ = api.urls
    return [
        path("v1/openapi.json", csrf_exempt(login_not_required(openapi)), name="api_openapi"),
        path("docs", docs, name="api_docs"),
        *(_url(pattern) for pattern in patterns if getattr(pattern, "name", "") != "api-root"),
        path("", csrf_exempt(login_not_required(_no_such_address)), name="api_nothing"),
        path("<path:rest>", csrf_exempt(login_not_required(_no_such_address)), name="api_nothing"),
    ]
