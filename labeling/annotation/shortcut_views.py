"""A user's own settings: keyboard shortcuts and how the labeling screen behaves."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from labeling.annotation import shortcuts
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "POST"])
def my_keys(request: SignedInRequest) -> HttpResponse:
    """The user's shortcuts; POST sets one (``action``, ``chord``), or resets one or all."""
    error, status, message = "", 200, ""
    if request.method == "POST":
        action = request.POST.get("action", "")
        try:
            if "reset" in request.POST:
                shortcuts.reset_keys(user=request.user, action=action)
                message = "Shortcut reset." if action else "All shortcuts reset."
            else:
                shortcuts.set_key(user=request.user, action=action, chord=request.POST.get("chord", ""))
                message = "Shortcut changed. It applies to the next document that you open."
        except shortcuts.InvalidShortcut as refusal:
            error, status = str(refusal), 422
    rows = shortcuts.rows(shortcuts.bindings(shortcuts.for_user(request.user).keys))
    context = {"rows": rows, "error": error, "message": message, "any_own": any(row.own for row in rows)}
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"labeling/annotation/keyboard.html{'#table' if fragment else ''}", context, status=status)


@require_POST
def exceptions_only(request: SignedInRequest) -> HttpResponse:
    """Sets whether Tab visits only fields that need attention: ``on`` is 1 or 0."""
    on = request.POST.get("on")
    if on not in ("0", "1"):
        return JsonResponse({"message": "on must be 0 or 1."}, status=400)
    shortcuts.set_exceptions_only(user=request.user, on=on == "1")
    return HttpResponse(status=204)
