"""``manage.py setup_demo``: its logins. ``tests/stack/test_serve.py`` starts the whole demo."""

import json
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from evaluation.management.commands import setup_demo


@pytest.fixture
def logins(db: None, queues: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the logins; the demo has few documents."""
    settings.HOME = tmp_path
    monkeypatch.setattr(setup_demo, "DOCUMENTS", 2)
    monkeypatch.setattr(setup_demo, "WAITING", 1)
    return tmp_path / "demo-logins.json"


def printed() -> str:
    output = StringIO()
    call_command("setup_demo", "--no-loop", stdout=output, stderr=StringIO())
    return output.getvalue()


def passwords(logins: Path) -> dict[str, str]:
    stored: dict[str, str] = json.loads(logins.read_text())["passwords"]
    return stored


def test_each_user_gets_a_password_that_is_printed_once(logins: Path) -> None:
    first = printed()
    made = passwords(logins)
    assert set(made) == {"ana", "erik", "mona"}
    assert len({*made.values()}) == 3
    assert all(len(password) >= 16 and first.count(password) == 1 for password in made.values())
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600
    again = printed()
    assert passwords(logins) == made
    assert not any(password in again for password in made.values())
    assert str(logins) in again
    for name, password in made.items():
        assert get_user_model().objects.get(username=name).check_password(password)


def test_the_common_password_of_an_older_version_is_replaced(logins: Path) -> None:
    logins.write_text(json.dumps({"people": ["ana", "erik", "mona"], "password": "demo-abc123"}))
    made = printed()
    assert "demo-abc123" not in passwords(logins).values()
    assert all(password in made for password in passwords(logins).values())
