"""Headers of responses, and requests over plain HTTP where HTTPS is required."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client

from slmstudio.server.headers import plain_headers
from tests.conftest import ROOT
from tests.labeling.label_desk import make_desk
from tests.stack.web import answer, server, status

IMAGE = "/static/img/icon.svg"


@pytest.fixture
def client(db: None) -> Client:
    client = Client()
    client.force_login(make_desk().ana)
    return client


@pytest.fixture
def secure(settings: Any) -> None:
    """The settings of HTTPS=1."""
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True


def directives(response: Any) -> dict[str, str]:
    policy = response["Content-Security-Policy"]
    return dict(part.strip().partition(" ")[::2] for part in policy.split(";"))


@pytest.mark.parametrize(
    "path",
    ["/login/", "/p/desk/", "/p/desk/documents/", "/healthz", "/nothing/", "/api/v1/projects", "/api/docs", IMAGE],
)
def test_every_response_is_protected(client: Client, path: str) -> None:
    response = client.get(path, follow=True)
    assert "camera=()" in response["Permissions-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == response["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = directives(response)
    for name in ("default-src", "object-src", "base-uri", "frame-ancestors"):
        assert policy[name] == "'none'", name
    assert "form-action" in policy
    assert ("sandbox" in policy) == (not response["Content-Type"].startswith("text/html"))
    assert response["Cache-Control"] == ("max-age=60, public" if path == IMAGE else "private, no-store")
    assert "Access-Control-Allow-Origin" not in response


def test_a_style_sheet_has_the_headers_of_files(client: Client, secure: None) -> None:
    """A page loads 50 of them: headers that only pages need weigh as much as a script."""
    response = client.get("/static/css/documents.css", secure=True)
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Strict-Transport-Security"] == plain_headers()["Strict-Transport-Security"]
    assert not {"Content-Security-Policy", "Permissions-Policy"} & set(response.headers)


def test_errors_of_the_servers_are_protected(db: None) -> None:
    with server("--workers", "1") as port:
        raw = answer(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n")
    assert status(raw) == 400
    for name, value in plain_headers().items():
        assert f"\r\n{name}: {value}\r\n".encode() in raw, name


def test_browsers_are_redirected_to_https(client: Client, secure: None) -> None:
    response = Client().get("/p/desk/")
    assert (response.status_code, response["Location"]) == (301, "https://testserver/p/desk/")
    assert response["Content-Security-Policy"]
    assert Client().get("/healthz").status_code in (200, 503)  # probes


@pytest.mark.parametrize("method", ["get", "post"])
def test_programs_are_not_redirected_to_https(client: Client, secure: None, method: str) -> None:
    response = getattr(Client(), method)("/api/v1/projects", headers={"Authorization": "Bearer slm_x"})
    assert (response.status_code, response.json()["code"]) == (403, "https_required")
    assert "Location" not in response
    safe = client.get("/api/v1/projects", secure=True)
    assert safe.status_code == 200
    assert safe["Strict-Transport-Security"] == plain_headers()["Strict-Transport-Security"]


def test_cookies_belong_to_this_host_alone() -> None:
    """Browsers accept the prefix only with Secure, the path / and no domain."""
    names = [
        f"{cookie}_COOKIE_{what}" for cookie in ("SESSION", "CSRF") for what in ("NAME", "SECURE", "PATH", "DOMAIN")
    ]
    script = "import json; from django.conf import settings as all; "
    script += f"print(json.dumps([getattr(all, name) for name in {names}]))"
    environment = {**os.environ, "HTTPS": "1", "DJANGO_SETTINGS_MODULE": "slmstudio.settings"}
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert json.loads(printed.stdout) == ["__Host-sessionid", True, "/", None, "__Host-csrftoken", True, "/", None]
