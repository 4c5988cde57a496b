"""A client of the REST interface, as a program with a token has one."""

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from labeling.integrations import tokens
from labeling.models import Project
from slmstudio.contract.json_text import dumps, loads

ALL = tuple(tokens.SCOPES)


@dataclass
class Answer:
    """Status, JSON (exact numbers) and headers of an answer."""

    status: int
    json: Any
    headers: Any
    raw: bytes


@dataclass
class Api:
    """Calls addresses below a project with a token."""

    base: str
    token: str
    client: Client = field(default_factory=Client)  # making one costs as much as many requests

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """``body`` is a JSON value; bytes are sent as they are, with ``content_type``."""
        content_type = more.pop("content_type", "application/json")
        data = body if isinstance(body, bytes) else b"" if body is None else dumps(body).encode()
        answer: Any = self.client.generic(
            method,
            path if path.startswith("/") else f"{self.base}{path}",
            data,
            content_type,
            headers={"Authorization": f"Bearer {self.token}", **more.pop("headers", {})},
            **more,
        )
        raw = b"".join(answer.streaming_content) if answer.streaming else answer.content
        is_json = "json" in answer.get("Content-Type", "") and "jsonl" not in answer["Content-Type"]
        return Answer(answer.status_code, loads(raw, max_characters=None) if is_json else None, answer.headers, raw)

    def get(self, path: str = "", **more: Any) -> Answer:
        """GET."""
        return self("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        """POST."""
        return self("POST", path, {} if body is None else body, **more)

    def put(self, path: str, body: Any) -> Answer:
        """PUT."""
        return self("PUT", path, body)


def api_of(project: Project, user: User, *scopes: str) -> Api:
    """A client of a member; by default with all scopes of their role."""
    from labeling.models import Membership

    role = Membership.objects.get(project=project, user=user).role
    wanted = scopes or tuple(tokens.scopes_for(role))
    _, text = tokens.create(project=project, user=user, name="test", scopes=wanted, days=None)
    return Api(f"/api/v1/projects/{project.slug}/", text)
