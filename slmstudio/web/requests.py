"""The request that a view behind the login gets."""

from django.contrib.auth.models import User
from django.http import HttpRequest


class SignedInRequest(HttpRequest):
    """A request of a person who is signed in: ``LoginRequiredMiddleware`` turns others away. For types alone."""

    user: User
