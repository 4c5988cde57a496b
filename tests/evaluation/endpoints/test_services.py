"""Endpoints: what is taken, where a key may go, and what a test says."""

from collections.abc import Iterator
from typing import Any

import pytest

from evaluation.endpoints import services as endpoint_services
from evaluation.endpoints.services import retire, save_endpoint
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.models import AuditEntry, Endpoint
from labeling.annotation import predictions
from labeling.models import Document
from slmstudio.errors import Refused
from tests.evaluation import fake_openai as fakes
from tests.evaluation.factories import World
from tests.evaluation.fake_openai import Fake, error, hangs, says

VALUES: dict[str, Any] = {
    "name": "large", "url": "https://93.184.215.14/v1", "model": "gpt", "key_variable": "", "structured": "auto",
    "logprobs": True, "timeout_seconds": 60, "concurrency": 4, "max_tokens": 1024,
}  # fmt: skip
GOOD = '{"invoice_id":"A","date":"2026-01-14","vendor":"V","total_amount":1}'


@pytest.fixture
def fake(settings: Any) -> Iterator[Fake]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with fakes.running() as server:
        server.replies = [says(GOOD)]
        yield server


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SLM_KEY_LARGE", "sk-secret")
    monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", "*")
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "api.example.com, 93.184.215.14")
    return "SLM_KEY_LARGE"


def save(world: World, **changes: Any) -> Endpoint:
    return save_endpoint(project=world.project, user=world.engineer, **{**VALUES, **changes})


def test_an_endpoint_is_added_changed_and_noted(world: World) -> None:
    row = save(world, name=" large ")
    assert row.name == "large"
    save_endpoint(project=world.project, user=world.engineer, endpoint=row, **{**VALUES, "model": "other"})
    row.refresh_from_db()
    assert row.model == "other"
    assert list(AuditEntry.objects.filter(about="endpoint large").order_by("pk").values_list("action", flat=True)) == [
        "added", "changed"
    ]  # fmt: skip


def test_a_change_that_names_no_price_keeps_the_prices(world: World) -> None:
    row = save(world, price_in=2.5, price_out=10.0)
    save_endpoint(project=world.project, user=world.engineer, endpoint=row, **{**VALUES, "model": "other"})
    row.refresh_from_db()
    assert (row.price_in, row.price_out) == (2.5, 10.0)
    save_endpoint(project=world.project, user=world.engineer, endpoint=row, **VALUES, price_in=None, price_out=None)
    row.refresh_from_db()
    assert (row.price_in, row.price_out) == (None, None)


def test_a_change_that_names_no_window_size_keeps_it(world: World) -> None:
    row = save(world, window_tokens=3000)
    for changes, kept in (({}, 3000), ({"window_tokens": None}, None)):
        save_endpoint(project=world.project, user=world.engineer, endpoint=row, **VALUES, **changes)
        row.refresh_from_db()
        assert (row.window_tokens, endpoint_config(row).window_tokens) == (kept, kept)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"window_tokens": 100}, "window_tokens", "between 128 and 1,000,000"),
        ({"name": "  "}, "name", "Enter a name"),
        ({"model": ""}, "model", "Enter the model name"),
        ({"url": "api.example.com"}, "url", "start with https"),
        ({"url": "file:///etc/passwd"}, "url", "start with https"),
        ({"url": "https://user:pass@93.184.215.14/v1"}, "url", "username or password"),
        ({"url": "https://93.184.215.14/v1?key=sk-1"}, "url", "visible to all members"),
        ({"url": "https://93.184.215.14/v1/chat/completions"}, "url", "Remove /chat/completions"),
        ({"url": "http://127.0.0.1:8000/v1"}, "url", "internal address"),
        ({"url": "http://169.254.169.254/latest"}, "url", "internal address"),
        ({"url": "http://[::1]/v1"}, "url", "internal address"),
        ({"url": "http://[::ffff:127.0.0.1]/v1"}, "url", "internal address"),
        ({"url": "https://no-such-host.invalid/v1"}, "url", "unknown"),
        ({"url": "https://[/v1"}, "url", "not a valid URL"),
        ({"url": "https://93.184.215.14:99999/v1"}, "url", "not a valid URL"),
        ({"timeout_seconds": 0}, "timeout_seconds", "between 1 and 600"),
        ({"concurrency": 33}, "concurrency", "between 1 and 32"),
        ({"max_tokens": 1}, "max_tokens", "between 16 and 131,072"),
        ({"key_variable": "DATABASE_URL"}, "key_variable", "SLM_KEY_"),
        ({"key_variable": "SECRET_KEY"}, "key_variable", "SLM_KEY_"),
        ({"key_variable": "SLM_KEY_UNSET"}, "key_variable", "SLM_KEY_UNSET is not set"),
    ],
)
def test_what_cannot_be_used_is_refused(world: World, changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        save(world, **changes)
    assert caught.value.field == field
    assert words in caught.value.message or words in caught.value.message.lower()
    assert not Endpoint.objects.exists()


def test_a_name_stands_once_until_its_endpoint_is_removed(world: World) -> None:
    row = save(world)
    with pytest.raises(Refused, match="An endpoint with this name already exists"):
        save(world)
    assert retire(endpoint=row, user=world.engineer)
    assert not retire(endpoint=row, user=world.engineer)
    assert save(world).pk != row.pk


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_read_from_the_environment_and_kept_nowhere(world: World, key: str) -> None:
    row = save(world, key_variable=key)
    assert endpoint_config(row).key == "sk-secret"
    row.refresh_from_db()
    assert "sk-secret" not in str(vars(row))
    assert "sk-secret" not in str(list(AuditEntry.objects.values_list("details", flat=True)))


@pytest.mark.parametrize(
    ("listed", "taken"), [(None, False), ("", False), ("others", False), ("others, INVOICES", True), ("*", True)]
)
def test_a_key_is_used_only_by_projects_that_the_administrator_named(
    world: World, key: str, monkeypatch: pytest.MonkeyPatch, listed: str | None, taken: bool
) -> None:
    if listed is None:
        monkeypatch.delenv("SLM_KEY_LARGE_PROJECTS")
    else:
        monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", listed)
    if taken:
        assert save(world, url="https://93.184.215.14/v1", key_variable=key).pk
        return
    with pytest.raises(Refused, match="SLM_KEY_LARGE_PROJECTS does not list invoices") as refusal:
        save(world, url="https://93.184.215.14/v1", key_variable=key)
    assert refusal.value.field == "key_variable"


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


def test_a_key_is_not_sent_in_the_clear(world: World, key: str) -> None:
    with pytest.raises(Refused, match="only sent over https://"):
        save(world, key_variable=key, url="http://93.184.215.14/v1")


def test_a_key_that_would_break_the_header_is_refused(world: World, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_KEY_LARGE", "sk-1\r\nX-Evil: 1")
    with pytest.raises(Refused, match="cannot be sent"):
        save(world, key_variable=key)


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


def test_without_documents_it_asks_about_one_of_its_own(world: World, fake: Fake) -> None:
    Document.objects.update(holdout=True)
    endpoint_services.test_endpoint(endpoint=save(world, url=fake.url), user=world.engineer)
    assert fake.asked[0]["messages"][-1]["content"] == endpoint_services._SAMPLE_TEXT


def test_what_is_withheld_is_not_shown_by_a_test_either(world: World, fake: Fake) -> None:
    world.project.withheld_share = 0.5
    world.project.save()
    endpoint_services.test_endpoint(endpoint=save(world, url=fake.url), user=world.engineer)
    open_to_all = Document.objects.filter(project=world.project, holdout=False).order_by("pk")
    first = next(one for one in open_to_all if not predictions.is_withheld(world.project, one.pk))
    assert fake.asked[0]["messages"][-1]["content"] == first.text
    world.project.withheld_share = 1
    world.project.save()
    endpoint_services.test_endpoint(endpoint=save(world, url=fake.url, name="another"), user=world.engineer)
    assert fake.asked[1]["messages"][-1]["content"] == endpoint_services._SAMPLE_TEXT


def test_a_test_that_fails_says_why_at_once(world: World, fake: Fake) -> None:
    fake.replies = [error(503, "loading the model")]
    result = endpoint_services.test_endpoint(endpoint=save(world, url=fake.url), user=world.engineer)
    assert (result["ok"], result["detail"]) == (False, "HTTP 503: loading the model")
    assert len(fake.asked) == 1, "a person waits: it is not tried again"


def test_a_test_does_not_wait_for_ever(world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_services, "TEST_SECONDS", 0.5)
    fake.replies = [hangs]
    assert (
        endpoint_services.test_endpoint(endpoint=save(world, url=fake.url), user=world.engineer)["outcome"] == "timeout"
    )


def test_a_test_whose_key_may_not_be_sent_sends_nothing(
    world: World, fake: Fake, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "127.0.0.1")
    row = save(world, url=fake.url, key_variable=key)
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "elsewhere.example.com")
    result = endpoint_services.test_endpoint(endpoint=row, user=world.engineer)
    assert (result["ok"], result["outcome"]) == (False, "refused")
    assert not fake.asked
