"""The JSON editor's frame, with its own content security policy.

The editor creates style elements, which the policy of the other pages forbids. So it runs in a frame without project
data, which exchanges the text by messages.
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
    """The editor, empty; ``static/js/annotation/json_editor_frame.js`` fills it with the text from the parent page."""
    return render(request, "labeling/projects/json_editor.html")
