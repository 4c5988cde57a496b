"""The proxies that the documentation configures send everything that the gateway answers to the gateway."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from starlette.routing import Route

from tests.conftest import ROOT
from tests.labeling.desk import make_desk
from tests.stack.test_serve import free_port
from tests.stack.web import serving

NGINX = ROOT / "deploy" / "nginx" / "slm-studio.conf"
INGRESS = ROOT / "deploy" / "kubernetes" / "ingress.yaml"
CALLERS_ID = "an-id-of-the-caller-4711"
#: pages and REST of the studio, some of which resemble addresses of the gateway
STUDIO = (
    "/", "/healthz", "/p/invoices/deploy/", "/static/css/studio.css", "/api/v1/projects/invoices/documents",
    "/api/v1/projects/invoices/extract/batch", "/api/v1/projects/invoices/extract/batch/3/result",
    "/api/v1/projects/invoices/deployment", "/api/v1/projects/extract", "/p/capture/", "/api/v1/", "/metrics/x",
)  # fmt: skip


def gateway_routes() -> list[tuple[str, str]]:
    """Method and an address of each route of the gateway. Its own health is no business of the public name."""
    from serving.gateway.app import app

    routes = [(route.path, route.methods or ()) for route in app.routes if isinstance(route, Route)]
    sample = {"slug": "invoices", "model:path": "invoices@3", "path:path": "chat/completions"}
    return [
        ("POST" if "POST" in methods else "GET", re.sub(r"\{([^}]+)\}", lambda match: sample[match[1]], path))
        for path, methods in routes
        if path != "/healthz"
    ]


def by_ingress(path: str) -> str:
    """The service of a path. ingress-nginx makes all paths of a host regular expressions, the longest first."""
    places = [
        place
        for manifest in yaml.safe_load_all(INGRESS.read_text())
        for rule in manifest["spec"]["rules"]
        for place in rule["http"]["paths"]
    ]
    places.sort(key=lambda place: -len(place["path"]))
    first = next(place for place in places if re.match(place["path"], path, re.IGNORECASE))
    return str(first["backend"]["service"]["name"])


def test_the_ingress_sends_every_address_of_the_gateway_to_it() -> None:
    routes = gateway_routes()
    assert len(routes) >= 8
    assert {path: by_ingress(path) for _, path in routes} == {path: "gateway" for _, path in routes}
    assert {path: by_ingress(path) for path in STUDIO} == dict.fromkeys(STUDIO, "web")


@contextlib.contextmanager
def nginx(folder: Path, web: int, gateway: int) -> Iterator[int]:
    """nginx with the file of the documentation; gives its port. Only addresses and the certificate are replaced."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed; bin/ensure-servers installs it")
    port = free_port()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    text = NGINX.read_text()
    for documented, own in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;", "127.0.0.1:8000;": f"127.0.0.1:{web};",
        "127.0.0.1:8001;": f"127.0.0.1:{gateway};", "/etc/ssl/studio.pem": str(certificate),
        "/etc/ssl/studio.key": str(key),
    }.items():  # fmt: skip
        assert text.count(documented) == 1, documented
        text = text.replace(documented, own)
    (folder / "slm-studio.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}include {folder}/slm-studio.conf;\n}}\n"
    )
    process = subprocess.Popen([program, "-c", main, "-e", folder / "error.log"], cwd=folder)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError):
            asked(port, "GET", "/healthz")
            return
        assert process.poll() is None, "nginx ended"
        assert time.monotonic() < until
        time.sleep(0.05)


def answered_by(response: http.client.HTTPResponse) -> str:
    """The studio repeats the ID of a request, the gateway answers with one of its own, and nginx with none."""
    number = response.headers["X-Request-Id"]
    return {None: "nginx", CALLERS_ID: "studio"}.get(number, "gateway")


def asked(port: int, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
    """The answer to a request through nginx."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    client = http.client.HTTPSConnection("127.0.0.1", port, context=unverified, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    always = {"Host": "localhost", "X-Request-Id": CALLERS_ID}
    client.request(method, path, body=body or None, headers={**always, **named})
    response = client.getresponse()
    response.read()
    client.close()
    return response


def offered(port: int, version: ssl.TLSVersion, ciphers: str) -> bool:
    """nginx accepts a connection with this version and one of these ciphers."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    client.set_ciphers(ciphers)
    with contextlib.suppress(ssl.SSLError, ConnectionResetError):
        with socket.create_connection(("127.0.0.1", port), 30) as plain, client.wrap_socket(plain):
            return True
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_a_real_nginx_sends_requests_where_they_are_answered(
    transactional_db: None, queues: None, tmp_path: Path
) -> None:
    make_desk("proxied")
    web, gateway = free_port(), free_port()
    trusted = {"TRUSTED_PROXIES": "127.0.0.1", "HTTPS": "1"}
    own = {**trusted, "SLM_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{web}", "--workers", "1"]
    gateway_command = [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{gateway}"]
    with (
        serving(command, web, environment=trusted),
        serving(gateway_command, gateway, environment=own, ends_with=-signal.SIGTERM),
        nginx(tmp_path, web, gateway) as port,
    ):
        for method, path in gateway_routes():
            answer = asked(port, method, path, "{}" if method == "POST" else "", Content_Type="application/json")
            assert (answer.status in (401, 404), answered_by(answer)) == (True, "gateway"), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "private, no-store"
        assert offered(port, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")
        assert offered(port, ssl.TLSVersion.TLSv1_3, "DEFAULT")
        assert not offered(port, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA")
        assert not offered(port, ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0")
        for path in STUDIO:
            assert answered_by(asked(port, "GET", path)) == "studio", path
        assert asked(port, "GET", "/healthz").status == 200
        cookie = asked(port, "GET", "/login/").headers["Set-Cookie"]
        assert cookie.startswith("__Host-csrftoken=")
        assert {"Path=/", "SameSite=Lax", "Secure"} <= {*cookie.split("; ")}
        assert "Domain" not in cookie
        # A body of the size that the gateway takes arrives there, and one above is rejected before.
        limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
        large = asked(port, "POST", "/v1/chat/completions", "a" * (limit - 10), Content_Type="application/json")
        assert (large.status, answered_by(large)) == (401, "gateway")
        rejected = asked(port, "POST", "/v1/chat/completions", "a" * (limit + 2 * 2**20))
        assert (rejected.status, answered_by(rejected)) == (413, "nginx")
        for response in (rejected, asked(port, "GET", "/login/"), asked(port, "GET", "/v1/models")):
            for header in ("Content-Security-Policy", "X-Content-Type-Options", "Strict-Transport-Security"):
                assert len(response.headers.get_all(header) or ()) == 1, header
