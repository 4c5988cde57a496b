"""External models over REST: list, add and remove them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from ninja import Router

from evaluation.api.schemas import EndpointIn, EndpointOut, EndpointsOut
from evaluation.endpoints import permits, services
from evaluation.models import Endpoint
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, refusal_problem
from labeling.api.wire import answer, nothing
from slmstudio.errors import Refused

router = Router(tags=["external models"])
_COLUMNS = tuple(EndpointIn.model_fields)


@router.get("", summary="List external models", operation_id="endpoints", **operation("read", EndpointsOut))
def endpoints(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The external models of the project."""
    project = project_of(request)
    found = list(Endpoint.objects.in_use(project))
    permitted = permits.permitted_endpoints(project, found)
    for row in found:
        row.project = project
    return answer({"items": [_out(row, row.pk in permitted) for row in found]})


@router.post(
    "",
    summary="Create an external model",
    operation_id="add_endpoint",
    **operation("endpoints", EndpointOut, 400, status=201),
)
def add(request: HttpRequest, slug: Slug, body: EndpointIn) -> HttpResponse:
    """Adds an external model, which can then be evaluated and deployed. Internal addresses are rejected unless the
    administrator adds them to `OUTBOUND_ALLOW`; only the owner can permit hold-out documents, in the web interface.
    """
    try:
        row = services.save_endpoint(project=project_of(request), user=caller(request).user, **body.model_dump())
    except Refused as refusal:
        raise refusal_problem(refusal, {}) from refusal
    except ValidationError as error:
        errors = [{"field": name, "message": " ".join(texts)} for name, texts in error.message_dict.items()]
        raise Problem(422, errors[0]["message"], errors, {"code": "invalid"}) from error
    return answer(_out(row, False), 201)


@router.delete(
    "/{int:pk}",
    summary="Delete an external model",
    operation_id="remove_endpoint",
    **operation("endpoints", None, status=204),
)
def remove(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Removes an external model: no more documents are sent to it. Existing outputs are kept."""
    row = object_of(request, Endpoint.objects.filter(retired_at__isnull=True), pk=pk)
    services.retire(endpoint=row, user=caller(request).user)
    return nothing()


def _out(row: Endpoint, permitted: bool) -> dict[str, Any]:
    return {
        "id": row.pk,
        "key": f"endpoint-{row.pk}",
        **{name: getattr(row, name) for name in _COLUMNS},
        "holdout_permitted": permitted,
        "page": row.get_absolute_url(),
    }
