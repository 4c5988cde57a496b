"""The provider as allauth knows it: authorization code with PKCE, state and nonce; ID tokens with a checked signature.

allauth's own OpenID Connect neither sends a nonce nor checks signatures, and takes parameters of the authorization from
the address of the page.
"""

import secrets
from typing import Any

import jwt
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.urls import reverse

from slmstudio.accounts.oidc.configuration import PROVIDER

#: signatures by a key of the provider; not HS256, whose key is the client's secret, and not none
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: seconds that the clocks of provider and studio may differ
CLOCK_SECONDS = 60
#: in the query of the sign-in address: the provider must ask for the person's credentials again
AGAIN = "again"
#: in the session: the nonce of its requests, and when the provider last asked for credentials
_NONCE, AUTHENTICATED_AT = "oidc_nonce", "oidc_authenticated_at"


class OidcAdapter(OpenIDConnectOAuth2Adapter):
    """Calls the provider and checks what it answers."""

    provider_id = PROVIDER

    def __init__(self, request: HttpRequest, provider_id: str = PROVIDER) -> None:
        super().__init__(request, provider_id)

    @property
    def openid_config(self) -> dict[str, Any]:
        """What the provider publishes about itself.

        Raises:
            OAuth2Error: its issuer is not OIDC_SERVER_URL (OpenID Connect Discovery 1.0, 4.3).
            RequestException: the provider does not respond.
        """
        config: dict[str, Any] = super().openid_config
        configured = self.get_provider().app.settings["server_url"].partition("/.well-known/")[0]
        if str(config.get("issuer", "")).rstrip("/") != configured.rstrip("/"):
            raise OAuth2Error(f"The issuer of {configured} is another one: {config.get('issuer')}")
        return config

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """The address that the provider redirects to; it is registered there."""
        return str(request.build_absolute_uri(reverse("oidc_callback")))

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        """The person's account, from the ID token and the user information.

        Raises:
            OAuth2Error: a token is missing or invalid, or belongs to another person or request.
        """
        id_token = self.decode(kwargs["response"].get("id_token") or "")
        nonce = request.session.get(_NONCE)
        if not nonce or id_token.get("nonce") != nonce:
            raise OAuth2Error("The ID token has a wrong nonce.")
        request.session[AUTHENTICATED_AT] = id_token.get("auth_time")
        data = {"id_token": id_token, "userinfo": self.user_information(token.token, id_token["sub"])}
        login: SocialLogin = self.get_provider().sociallogin_from_response(request, data)
        return login

    def user_information(self, access_token: str, subject: str) -> dict[str, Any]:
        """What the provider says about the person of an access token.

        Raises:
            OAuth2Error: it is that of another person.
            RequestException: the provider refuses or does not respond.
        """
        found: dict[str, Any] = self._fetch_user_info(access_token)
        if found.get("sub") != subject:
            raise OAuth2Error("The user information belongs to another person.")
        return found

    def decode(self, id_token: str) -> dict[str, Any]:
        """The claims of an ID token.

        Raises:
            OAuth2Error: signature, issuer, audience or time are not as required.
            RequestException: the provider does not respond.
        """
        config, client_id = self.openid_config, self.get_provider().app.client_id
        try:
            key = _Keys(config["jwks_uri"]).get_signing_key_from_jwt(id_token).key
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key=key,
                algorithms=[*ALGORITHMS],
                issuer=config["issuer"],
                audience=client_id,
                leeway=CLOCK_SECONDS,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise OAuth2Error(f"Invalid ID token: {error}") from error
        if claims.get("azp", client_id) != client_id:
            raise OAuth2Error("The ID token was issued to another application.")
        return claims


class _Keys(jwt.PyJWKClient):
    """The keys at an address, read as everything of the provider is: in time, and without following redirects."""

    def fetch_data(self) -> Any:
        with get_adapter().get_requests_session() as session:
            response = session.get(self.uri)
            response.raise_for_status()
            return response.json()


class OidcProvider(OpenIDConnectProvider):
    """The company's provider; see ``configuration.providers``."""

    id = PROVIDER
    oauth2_adapter_class = OidcAdapter

    def get_login_url(self, request: HttpRequest, **kwargs: Any) -> str:
        """The address that begins a sign-in."""
        return reverse("oidc_login", query=kwargs or None)

    def get_callback_url(self) -> str:
        """The path that the provider redirects to."""
        return reverse("oidc_callback")

    def get_auth_params_from_request(self, request: HttpRequest, action: str) -> dict[str, str]:
        """The parameters of the authorization request: the session's nonce, and whether to ask for credentials."""
        parameters = {"nonce": request.session.setdefault(_NONCE, secrets.token_urlsafe(32))}
        if AGAIN in request.GET:
            parameters |= {"prompt": "login", "max_age": "0"}
        return parameters

    def get_scope_from_request(self, request: HttpRequest) -> list[str]:
        """The scopes of the settings."""
        return list(self.get_scope())


provider_classes = [OidcProvider]
