"""ID tokens that are not accepted: whoever issued them, nobody is signed in."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory

from slmstudio.accounts.adapters import AccountAdapter
from slmstudio.accounts.oidc.configuration import providers

KEY, OTHER_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))


#: claims that are given as seconds from now
TIMES = ("exp", "iat", "nbf")


class Forger:
    """A provider that issues whatever it is asked to. Only for what a certified provider never issues."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.key: Any = KEY
        self.algorithm = "RS256"
        self.subject = "ana"
        self.nonce = ""
        self.issuer = ""
        #: a path that redirects to itself with a query, instead of an answer
        self.redirects = ""
        forger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                forger.answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                forger.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        answers: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer or self.url,
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "userinfo_endpoint": f"{self.url}/me",
                "jwks_uri": f"{self.url}/keys",
            },
            "/keys": {"keys": [{**public, "kid": "1", "alg": "RS256", "use": "sig"}]},
            "/token": {"access_token": "access", "token_type": "Bearer", "id_token": self.token()},
            "/me": {"sub": self.subject, "preferred_username": "ana", "email": "ana@example.com"},
        }
        body = answers[path]
        if request.path == self.redirects:
            request.send_response(307)
            request.send_header("Location", f"{self.url}{path}?again")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        request.wfile.write(json.dumps(body).encode())

    def token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": "studio", "sub": "ana", "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims |= {name: now + value if name in TIMES and value else value for name, value in self.claims.items()}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": "1"})


@pytest.fixture
def forger(settings: Any) -> Iterator[Forger]:
    forger = Forger()
    settings.OIDC_SERVER_URL = forger.url
    settings.SOCIALACCOUNT_PROVIDERS = providers(forger.url, "Company", "studio", "secret", ["openid"])
    yield forger
    forger.server.shutdown()
    forger.server.server_close()


def sign_in(forger: Forger, *, nonce: str | None = None, client: Any = None, process: str = "login") -> Any:
    """The answer to the return from the provider."""
    client = client or Client()
    began = client.post(f"/oidc/login/?process={process}")
    parameters = dict(part.split("=") for part in began["Location"].partition("?")[2].split("&"))
    assert len(parameters["state"]) >= 43  # 256 bits
    assert (parameters["code_challenge_method"], parameters["response_type"]) == ("S256", "code")
    forger.nonce = parameters["nonce"] if nonce is None else nonce
    return client.get("/oidc/login/callback/", {"code": "code", "state": parameters["state"]})


def test_a_valid_token_signs_in(db: None, servers: Any, forger: Forger) -> None:
    assert sign_in(forger).status_code == 302
    assert get_user_model().objects.get().username == "ana"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another application"},
        {"aud": ["studio", "another"], "azp": "another"},
        {"iss": "https://another.example"},
        {"exp": -3600},
        {"exp": None},
        {"iat": 3600},
        {"nbf": 3600},
        {"sub": None},
        {"sub": "ben"},
        {"nonce": None},
    ],
    ids=lambda claims: ",".join(f"{name}={value}" for name, value in claims.items())[:40],
)
def test_a_wrong_claim_signs_nobody_in(db: None, servers: Any, forger: Forger, claims: dict[str, Any]) -> None:
    forger.claims = claims
    assert sign_in(forger).status_code == 403
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize(("key", "algorithm"), [(OTHER_KEY, "RS256"), ("secret" * 8, "HS256"), (None, "none")])
def test_a_wrong_signature_signs_nobody_in(db: None, servers: Any, forger: Forger, key: Any, algorithm: str) -> None:
    forger.key, forger.algorithm = key, algorithm
    assert sign_in(forger).status_code == 403
    assert not get_user_model().objects.exists()


def test_a_nonce_or_state_of_another_session_signs_nobody_in(db: None, servers: Any, forger: Forger) -> None:
    assert sign_in(forger, nonce="of another session").status_code == 403
    assert Client().get("/oidc/login/callback/", {"code": "code", "state": "unknown"}).status_code == 403
    assert not get_user_model().objects.exists()


def test_the_issuer_of_another_provider_signs_nobody_in(db: None, servers: Any, forger: Forger) -> None:
    forger.issuer = "https://another.example"
    assert Client().post("/oidc/login/").status_code == 403
    forger.issuer = f"{forger.url}/"
    assert Client().post("/oidc/login/").status_code == 302


def test_a_provider_that_does_not_respond_is_no_error_of_the_studio(db: None, servers: Any, forger: Forger) -> None:
    forger.redirects = "/.well-known/openid-configuration"
    assert Client().post("/oidc/login/").status_code == 403


@pytest.mark.parametrize("path", ["/token", "/me", "/keys"])
def test_redirects_of_the_provider_are_not_followed(db: None, servers: Any, forger: Forger, path: str) -> None:
    forger.redirects = path
    assert sign_in(forger).status_code == 403
    assert not get_user_model().objects.exists()


def test_an_email_address_takes_over_no_account(db: None, servers: Any, forger: Forger) -> None:
    ana = get_user_model().objects.create_user("ana.r", "Ana@example.com", "correct horse battery")
    assert sign_in(forger).status_code == 409
    client = Client()
    client.force_login(ana)
    assert sign_in(forger, client=client, process="connect").status_code == 302
    assert sign_in(forger).status_code == 302
    assert get_user_model().objects.count() == 1


def test_an_account_of_the_provider_has_no_other_way_in(
    db: None, servers: Any, forger: Forger, mailoutbox: list[Any]
) -> None:
    client = Client()
    assert sign_in(forger, client=client).status_code == 302
    ana = get_user_model().objects.get()
    words = "correct horse battery"
    assert client.post("/password/set/", {"password1": words, "password2": words}).status_code == 403
    Client().post("/password/reset/", {"email": ana.email})
    ana.refresh_from_db()
    assert (ana.has_usable_password(), mailoutbox) == (False, [])
    other = RequestFactory().post("/2fa/webauthn/login/")
    other.user, other.session = AnonymousUser(), Client().session
    more = {"email_verification": "none", "email": None, "signup": False, "redirect_url": None}
    passkey = AccountAdapter(other).pre_login(other, ana, signal_kwargs=None, **more)
    assert passkey is not None
    assert passkey.status_code == 403


def test_without_a_provider_its_addresses_are_not_found(db: None) -> None:
    assert Client().post("/oidc/login/").status_code == 404
    assert Client().get("/oidc/login/callback/").status_code == 404
