"""The addresses of a sign-in at the company's provider, which allauth includes; 404 without a provider."""

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView, OAuth2View
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from slmstudio.accounts.oidc.configuration import PROVIDER
from slmstudio.accounts.oidc.provider import OidcAdapter
from slmstudio.accounts.step_up import step_up


@login_not_required
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Leads to the provider. Connecting it to the account of the session needs a recent confirmation."""
    connects = "connect" in (request.GET.get("process"), request.POST.get("process"))
    return step_up(_lead)(request) if connects and request.user.is_authenticated else _lead(request)


def _lead(request: HttpRequest) -> HttpResponseBase:
    return _answer(request, OAuth2LoginView)


@login_not_required
def callback(request: HttpRequest) -> HttpResponseBase:
    """Where the provider leads back to."""
    return _answer(request, OAuth2CallbackView)


def _answer(request: HttpRequest, view: type[OAuth2View]) -> HttpResponseBase:
    try:
        answer: HttpResponseBase = view.adapter_view(OidcAdapter)(request)
    except SocialApp.DoesNotExist as error:
        raise Http404("No provider is configured.") from error
    except (OAuth2Error, requests.RequestException) as error:  # before allauth looks out for them
        return _failed(request, error)
    return answer


def _failed(request: HttpRequest, error: Exception) -> HttpResponseBase:
    """The page that says that the sign-in failed; the adapter raises it."""
    try:
        get_adapter().on_authentication_error(request, PROVIDER, exception=error)
    except ImmediateHttpResponse as page:
        answer: HttpResponseBase = page.response
        return answer
    raise error


urlpatterns = [
    path("oidc/login/", sign_in, name="oidc_login"),
    path("oidc/login/callback/", callback, name="oidc_callback"),
]
