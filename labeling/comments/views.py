"""Pages and fragments of comments: those of a document, and where a user is mentioned."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.annotation.payloads import NewComment, PayloadError, ResolvedComment, parse
from labeling.annotation.screen_state import open_comment_counts
from labeling.comments import services
from labeling.form.tree import FormNode, node_at, tree_of
from labeling.models import Comment, Document
from slmstudio.access import Action, object_for, project_for
from slmstudio.contract.schema.structure import split
from slmstudio.errors import Refused
from slmstudio.web.paging import key_of, page
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "POST"])
def comments(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The comments of a document; POST ``{"path", "text"}`` adds one. Marks the user's mentions as read."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    if request.method == "POST":
        try:
            comment = parse(NewComment, request.body)
            services.add(document=document, user=request.user, text=comment.text, path=comment.path)
        except (PayloadError, Refused) as error:
            return JsonResponse({"message": str(error)}, status=422)
    unread = services.mentions(project=project, user=request.user).filter(comment__document=document, read_at=None)
    services.mark_read(user=request.user, mentions=unread)
    return _threads_response(request, project, document)


@require_POST
def resolve(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Resolves a comment: ``{"comment": id}``."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        number = parse(ResolvedComment, request.body).comment
        comment = get_object_or_404(Comment, pk=number, document=document)
        services.resolve(comment=comment, user=request.user)
    except (PayloadError, Refused) as error:
        return JsonResponse({"message": str(error)}, status=422)
    return _threads_response(request, project, document)


@require_safe
def mentions(request: SignedInRequest, slug: str) -> HttpResponse:
    """A user's mentions, newest first. Those that are shown are read then."""
    project = project_for(request.user, slug, Action.LABEL)
    rows = services.mentions(project=project, user=request.user)
    shown = page(rows, after=key_of(request.GET.get("before")), newest=True)
    services.mark_read(user=request.user, mentions=shown.rows)
    return render(request, "labeling/comments/mentions.html", {"project": project, "page": shown})


def _threads_response(request: SignedInRequest, project: Any, document: Document) -> HttpResponse:
    node = tree_of(project.schema_version.compiled)
    threads = [
        {"path": comment.path, "title": _title(node, comment.path) if comment.path else "", "comment": comment}
        for comment in services.threads(document=document)
    ]
    context = {"project": project, "document": document, "threads": threads}
    open_by_path = open_comment_counts(document)
    return JsonResponse(
        {
            "html": render_to_string("labeling/comments/threads.html", context, request),
            "count": sum(open_by_path.values()),
            "commented": open_by_path,
            "members": services.member_names(project),
        }
    )


def _title(node: FormNode, path: str) -> str:
    """The title of a field with its row: "Line items 2, Amount"."""
    words: list[str] = []
    for step in split(path):
        if isinstance(step, int):
            words[-1:] = [f"{words[-1] if words else 'Row'} {step + 1}"]
        elif step is not None:
            words.append(step)
    own = node_at(node, path).title
    return f"{words[-2]}, {own}" if own and len(words) > 1 else own or ", ".join(words)
