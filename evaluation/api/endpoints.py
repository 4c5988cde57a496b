"""External models over REST: list, add and remove them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from ninja import Router, Status

from evaluation.api.schemas import EndpointIn, EndpointOut
from evaluation.endpoints import permits, services
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import Items

router = Router(tags=["external models"])


@router.get("", summary="List external models", operation_id="endpoints", **operation("read", Items[EndpointOut]))
def endpoints(request: HttpRequest, slug: Slug) -> Any:
    """The external models of the project."""
    project = project_of(request)
    rows = list(project.endpoints.in_use(project))
    permitted = permits.permitted_endpoints(project, rows)
    for row in rows:
        row.holdout_permitted = row.pk in permitted
    return {"items": rows}


@router.post(
    "",
    summary="Create an external model",
    operation_id="add_endpoint",
    **operation("endpoints", EndpointOut, 400, status=201),
)
def add(request: HttpRequest, slug: Slug, body: EndpointIn) -> Any:
    """Adds an external model, which can then be evaluated and deployed. Internal addresses are rejected unless the
    administrator adds them to `OUTBOUND_ALLOW`; only the owner can permit hold-out documents, in the web interface.
    """
    try:
        row = services.save_endpoint(project=project_of(request), user=caller(request).user, **body.model_dump())
    except ValidationError as error:
        errors = [{"field": name, "message": " ".join(texts)} for name, texts in error.message_dict.items()]
        raise Problem(422, errors[0]["message"], errors, {"code": "invalid"}) from error
    return Status(201, row)


@router.delete(
    "/{int:pk}",
    summary="Delete an external model",
    operation_id="remove_endpoint",
    **operation("endpoints", None, status=204),
)
def remove(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Removes an external model: no more documents are sent to it. Existing outputs are kept."""
    project = project_of(request)
    row = object_of(request, project.endpoints.in_use(project), pk=pk)
    services.retire(endpoint=row, user=caller(request).user)
    return HttpResponse(status=204)
