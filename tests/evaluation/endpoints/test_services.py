"""Endpoints: what is taken, where a key may go, and what a test says."""

from typing import Any

import pytest

from evaluation.endpoints import services as endpoint_services
from evaluation.endpoints.services import retire, save_endpoint
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.models import AuditEntry, Endpoint
from labeling.annotation import predictions
from labeling.models import Document
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.evaluation.fake_openai import Fake, error, hangs, says

VALUES: dict[str, Any] = {
    "name": "large", "url": "https://93.184.215.14/v1", "model": "gpt", "key_variable": "", "structured": "auto",
    "logprobs": True, "timeout_seconds": 60, "concurrency": 4, "max_tokens": 1024,
}  # fmt: skip
GOOD = '{"invoice_id":"A","date":"2026-01-14","vendor":"V","total_amount":1}'


@pytest.fixture
def fake(fake: Fake) -> Fake:
    fake.replies = [says(GOOD)]
    return fake


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SLM_KEY_LARGE", "sk-secret")
    monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", "*")
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "api.example.com, 93.184.215.14")
    return "SLM_KEY_LARGE"


def save(world: World, **changes: Any) -> Endpoint:
    return save_endpoint(project=world.project, user=world.engineer, **{**VALUES, **changes})


def test_an_endpoint_is_added_changed_and_removed(world: World) -> None:
    row = save(world, name=" large ", price_in=2.5, price_out=10.0, window_tokens=3000)

    def changed(**changes: Any) -> tuple[Any, ...]:
        values = {**VALUES, **changes}
        save_endpoint(project=world.project, user=world.engineer, endpoint=row, **values)
        row.refresh_from_db()
        assert endpoint_config(row).window_tokens == row.window_tokens
        return row.model, row.price_in, row.price_out, row.window_tokens

    assert row.name == "large"
    assert changed(model="other") == ("other", 2.5, 10.0, 3000), "what is not named is kept"
    assert changed(price_in=None, price_out=None, window_tokens=None) == ("gpt", None, None, None)
    noted = AuditEntry.objects.filter(about="endpoint large").order_by("pk").values_list("action", flat=True)
    assert list(noted) == ["added", "changed", "changed"]
    with pytest.raises(Refused, match="An endpoint with this name already exists"):
        save(world)
    assert retire(endpoint=row, user=world.engineer)
    assert not retire(endpoint=row, user=world.engineer)
    assert save(world).pk != row.pk


def test_what_cannot_be_used_is_refused(world: World) -> None:
    values: list[tuple[str, Any, str]] = [
        ("window_tokens", 100, "between 128 and 1,000,000"),
        ("name", "  ", "Enter a name"),
        ("model", "", "Enter the model name"),
        ("url", "api.example.com", "start with https"),
        ("url", "file:///etc/passwd", "start with https"),
        ("url", "https://user:pass@93.184.215.14/v1", "username or password"),
        ("url", "https://93.184.215.14/v1?key=sk-1", "visible to all members"),
        ("url", "https://93.184.215.14/v1/chat/completions", "Remove /chat/completions"),
        ("url", "http://127.0.0.1:8000/v1", "internal address"),
        ("url", "http://169.254.169.254/latest", "internal address"),
        ("url", "http://[::1]/v1", "internal address"),
        ("url", "http://[::ffff:127.0.0.1]/v1", "internal address"),
        ("url", "https://no-such-host.invalid/v1", "unknown"),
        ("url", "https://[/v1", "not a valid url"),
        ("url", "https://93.184.215.14:99999/v1", "not a valid url"),
        ("timeout_seconds", 0, "between 1 and 600"),
        ("concurrency", 33, "between 1 and 32"),
        ("max_tokens", 1, "between 16 and 131,072"),
        ("key_variable", "DATABASE_URL", "SLM_KEY_"),
        ("key_variable", "SLM_KEY_UNSET", "SLM_KEY_UNSET is not set"),
    ]
    for field, value, words in values:
        with pytest.raises(Refused) as caught:
            save(world, **{field: value})
        assert caught.value.field == field
        assert words.lower() in caught.value.message.lower(), value
    assert not Endpoint.objects.exists()


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_read_from_the_environment_and_kept_nowhere(world: World, key: str) -> None:
    row = save(world, key_variable=key)
    assert endpoint_config(row).key == "sk-secret"
    row.refresh_from_db()
    assert "sk-secret" not in str(vars(row))
    assert "sk-secret" not in str(list(AuditEntry.objects.values_list("details", flat=True)))


def test_a_key_is_used_only_by_projects_that_the_administrator_named(
    world: World, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for listed in (None, "", "others"):
        if listed is None:
            monkeypatch.delenv("SLM_KEY_LARGE_PROJECTS")
        else:
            monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", listed)
        with pytest.raises(Refused, match="SLM_KEY_LARGE_PROJECTS does not list invoices") as refusal:
            save(world, key_variable=key)
        assert refusal.value.field == "key_variable"
    for listed in ("others, INVOICES", "*"):
        monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", listed)
        assert save(world, name=listed, key_variable=key).pk
    with pytest.raises(Refused, match="only sent over https://"):
        save(world, key_variable=key, url="http://93.184.215.14/v1")
    monkeypatch.setenv("SLM_KEY_LARGE", "sk-1\r\nX-Evil: 1")
    with pytest.raises(Refused, match="cannot be sent"):
        save(world, key_variable=key)


def test_a_key_goes_only_to_hosts_that_the_administrator_named(
    world: World, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = save(world, key_variable=key)
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "api.example.com")
    with pytest.raises(Refused, match=r"not sent to 93\.184\.215\.14: SLM_KEY_LARGE_HOSTS lists api\.example\.com"):
        endpoint_config(row)
    monkeypatch.delenv("SLM_KEY_LARGE_HOSTS")
    with pytest.raises(Refused, match="lists no host"):
        endpoint_config(row)


# -- the test of one ---------------------------------------------------------------------------------------------------


def test_a_test_asks_about_one_document_that_is_not_held_out(world: World, fake: Fake) -> None:
    row = save(world, url=fake.url)
    result = endpoint_services.test_endpoint(endpoint=row, user=world.engineer)
    assert (result["outcome"], result["ok"], result["response_format"]) == ("valid", True, "json_schema")
    row.refresh_from_db()
    assert row.test_result == result
    assert row.tested_at is not None
    shown = fake.asked[0]["messages"][-1]["content"]
    assert Document.objects.get(project=world.project, text=shown).holdout is False


def test_what_is_withheld_or_held_out_is_not_shown_by_a_test_either(world: World, fake: Fake) -> None:
    row = save(world, url=fake.url)

    def shown() -> str:
        endpoint_services.test_endpoint(endpoint=row, user=world.engineer)
        content: str = fake.asked[-1]["messages"][-1]["content"]
        return content

    world.project.withheld_share = 0.5
    world.project.save()
    open_to_all = Document.objects.filter(project=world.project, holdout=False).order_by("pk")
    first = next(document for document in open_to_all if not predictions.is_withheld(world.project, document.pk))
    assert shown() == first.text
    world.project.withheld_share = 1
    world.project.save()
    assert shown() == endpoint_services._SAMPLE_TEXT
    world.project.withheld_share = 0
    world.project.save()
    Document.objects.update(holdout=True)
    assert shown() == endpoint_services._SAMPLE_TEXT


def test_a_test_that_fails_says_why_at_once(world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    row = save(world, url=fake.url)
    fake.replies = [error(503, "loading the model")]
    result = endpoint_services.test_endpoint(endpoint=row, user=world.engineer)
    assert (result["ok"], result["detail"]) == (False, "HTTP 503: loading the model")
    assert len(fake.asked) == 1, "a person waits: it is not tried again"
    monkeypatch.setattr(endpoint_services, "TEST_SECONDS", 0.2)
    fake.replies = [hangs]
    assert endpoint_services.test_endpoint(endpoint=row, user=world.engineer)["outcome"] == "timeout"


def test_a_test_whose_key_may_not_be_sent_sends_nothing(
    world: World, fake: Fake, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "127.0.0.1")
    row = save(world, url=fake.url, key_variable=key)
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "elsewhere.example.com")
    result = endpoint_services.test_endpoint(endpoint=row, user=world.engineer)
    assert (result["ok"], result["outcome"]) == (False, "refused")
    assert not fake.asked
