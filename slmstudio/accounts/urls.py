"""The addresses of allauth. What changes how an account is used needs a recent sign-in or confirmation."""

from allauth.account import views as account
from allauth.mfa.base import views as factors
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount import views as provider
from allauth.usersessions import views as usersessions
from django.urls import include, path

from slmstudio.accounts.step_up import new_session_key, step_up

urlpatterns = [
    path("email/", step_up(account.email)),
    path("sessions/", step_up(usersessions.list_usersessions)),
    path("3rdparty/", step_up(provider.connections)),
    path("reauthenticate/", new_session_key(account.reauthenticate)),
    path("2fa/reauthenticate/", new_session_key(factors.reauthenticate)),
    path("2fa/webauthn/reauthenticate/", new_session_key(passkeys.reauthenticate_webauthn)),
    path("", include("allauth.urls")),
]
