"""The page in the frame of the JSON editor, with a policy of its own.

The editor makes its own styles, which the policy of every other page forbids. So it runs in a frame: this page shows
nothing of the project, asks the server for nothing but its script, and gets and gives the text by messages.
"""

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe


@require_safe
@xframe_options_sameorigin
@csp_replace(
    {
        "style-src": [SELF, UNSAFE_INLINE],
        "frame-ancestors": [SELF],
        "connect-src": [NONE],
        "form-action": [NONE],
    }
)
def frame(request: HttpRequest) -> HttpResponse:
    """The editor, empty; ``static/js/annotation/json_editor_frame.js`` fills it with what the page around it sends."""
    return render(request, "labeling/projects/json_editor.html")
