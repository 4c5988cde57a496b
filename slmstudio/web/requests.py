"""The request of a view behind the login."""

from django.contrib.auth.models import User
from django.http import HttpRequest


class SignedInRequest(HttpRequest):
    """A request of a signed-in user: ``LoginRequiredMiddleware`` redirects others. For types only."""

    user: User
