"""A stand-in for a Hugging Face-compatible hub: the documented endpoints that pushing and pulling a model use.

Create a repository, preupload, the batch API of Git LFS, commit as newline-delimited JSON, tree, revision, resolve.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import in_thread

LARGE = (".safetensors", ".gguf")
TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """Repositories in memory. ``requests``: method and path of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/upload/"):
            return self._json({"error": "Invalid user token."}, 401)
        for pattern, work in _ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return work(self, body, **found.groupdict())
        return self._json({"error": "Not found"}, 404)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        self.server.created.append(asked)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        self.server.repositories.setdefault(name, {})
        self._json({"url": f"{self.server.address}/{name}", "name": name, "id": name})

    def validate(self, body: bytes) -> None:
        assert json.loads(body)["repoType"] == "model"
        self._json({"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        files = [
            {
                "path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False, "oid": None,
            }
            for one in json.loads(body)["files"]
        ]  # fmt: skip
        self._json({"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        asked = json.loads(body)
        assert asked["operation"] == "upload"
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.address}/upload/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        self._json({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        files = self.server.repositories[repo]
        for line in body.splitlines():
            one = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif one["key"] == "deletedFile":
                del files[value["path"]]
        url = f"{self.server.address}/{repo}/commit/{self._sha(repo)}"
        self._json({"success": True, "commitOid": self._sha(repo), "commitUrl": url, "hookOutput": ""})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        self._json([self._entry(path, content) for path, content in self.server.repositories[repo].items()])

    @staticmethod
    def _entry(path: str, content: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
        if path.endswith(LARGE):
            found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return found

    def revision(self, body: bytes, repo: str, revision: str = "main") -> None:
        files = self.server.repositories.get(repo)
        if files is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        siblings = [{"rfilename": path} for path in files]
        return self._json({"id": repo, "sha": self._sha(repo), "siblings": siblings, "private": True, "tags": []})

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        content = self.server.repositories[repo][path]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self._sha(repo))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _sha(self, repo: str) -> str:
        parts = sorted((path, content) for path, content in self.server.repositories[repo].items())
        return hashlib.sha1(repr(parts).encode()).hexdigest()

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, Any]] = [
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (rf"POST /api/models/{_REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /upload/(?P<oid>\w+)", Handler.upload),
    (rf"POST /api/models/{_REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
    (rf"GET /api/models/{_REPO}/tree/(?P<revision>[^/]+)", Handler.tree),
    (rf"GET /api/models/{_REPO}(/revision/(?P<revision>[^/]+))?", Handler.revision),
    (rf"(GET|HEAD) /{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """A running hub."""
    found = Hub()
    with in_thread(found):
        yield found
