"""The use of tokens on its page, and who may set budgets."""

import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.integrations import tokens
from labeling.models import ApiToken
from serving.budgets import usage
from serving.models import Budget, TokenUsage
from serving.settings import services
from slmstudio.errors import Refused
from tests.evaluation.factories import World


def token_of(world: World, user: Any, name: str) -> ApiToken:
    return tokens.create(project=world.project, user=user, name=name, scopes=["read"], days=None)[0]


def used(world: World, token_id: int, requests: int, *, days: int = 0) -> None:
    TokenUsage.objects.create(
        project_id=world.project.pk, token_id=token_id, day=timezone.now().date() - timedelta(days=days),
        requests=requests, answered=requests - 1, prompt_tokens=10 * requests, output_tokens=requests,
    )  # fmt: skip


def client(user: Any) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


def test_managers_and_owners_see_all_tokens_and_others_their_own(world: World) -> None:
    theirs, own = token_of(world, world.engineer, "theirs"), token_of(world, world.manager, "own")
    used(world, theirs.pk, 5)
    used(world, own.pk, 7)
    used(world, 0, 2)
    used(world, own.pk, 100, days=31)

    def shown(user: Any) -> dict[str, int]:
        uses = client(user).get("/p/invoices/deploy/monitoring/").context["uses"]
        return {use.name: use.totals.requests for use in uses}

    for user in (world.owner, world.manager):
        assert shown(user) == {"Project": 14, "own": 7, "theirs": 5, "Web interface, batches and commands": 2}
    # The sums are those of the project for everyone.
    assert shown(world.engineer) == {
        "Project": 14,
        "theirs": 5,
        "Other tokens": 7,
        "Web interface, batches and commands": 2,
    }
    assert client(world.manager).get(f"/p/invoices/deploy/usage/{theirs.pk}/").status_code == 200
    assert client(world.engineer).get(f"/p/invoices/deploy/usage/{own.pk}/").status_code == 404
    days = client(world.owner).get(f"/p/invoices/deploy/usage/{own.pk}/").context["days"]
    assert (len(days), days[-1].requests, days[-1].height, days[0].requests) == (30, 7, usage.BAR, 0)
    tokens.revoke(token=own, user=world.manager)
    assert shown(world.owner)["own"] == 7
    assert client(world.owner).get(f"/p/invoices/deploy/usage/{own.pk}/").status_code == 404


def test_the_page_of_limits_has_the_form_or_says_who_may_change_them(world: World) -> None:
    address, way_back = "/p/invoices/deploy/usage/0/", '"/p/invoices/deploy/monitoring/#usage"'
    client(world.owner).post(address, {"requests_per_minute": "1200"})
    for user in (world.manager, world.engineer, world.annotator):
        page = client(user).get(address).content.decode()
        assert "Owners of the project can change the limits." in page
        assert ("1,200" in page, len(re.findall(r"<dd>\s*no limit", page))) == (True, 3)
        assert way_back in page
        assert '<form class="stack"' not in page
    page = client(world.owner).get(address).content.decode()
    assert 'name="requests_per_minute"' in page
    assert way_back in page


def test_owners_set_budgets(world: World) -> None:
    token = token_of(world, world.engineer, "t")
    used(world, token.pk, 5)
    values = {"requests_per_month": "5", "tokens_per_minute": "100"}
    address = f"/p/invoices/deploy/usage/{token.pk}/"
    assert client(world.engineer).post(address, values).status_code == 403
    assert client(world.owner).post(address, {"requests_per_month": "0"}).status_code == 422
    assert b"The limits were saved." in client(world.owner).post(address, values, follow=True).content
    budget = usage.limits_of_token(token.pk)
    assert (budget.tokens_per_minute, budget.requests_per_month, budget.tokens_per_month) == (100, 5, None)
    assert usage.used_this_month(token_id=token.pk) == (4, 55)
    assert AuditEntry.objects.filter(about=f"budget of token {token.prefix}").count() == 1
    client(world.owner).post("/p/invoices/deploy/usage/0/", {"tokens_per_month": "50"})
    [share] = usage.use_of(world.project, None).shares
    assert (share.used, share.limit, share.percent, share.is_spent) == (55, 50, 100, True)
    client(world.owner).post(address, {})
    assert Budget.objects.filter(token=token).count() == 0


def test_limits_are_positive_numbers(world: World) -> None:
    wrong: list[dict[str, Any]] = [{"requests_per_month": 0}, {"tokens_per_month": 10**16}, {"nothing": 1}]
    for values in wrong:
        with pytest.raises(Refused) as refused:
            services.set_limits(project=world.project, user=world.owner, **values)
        assert (refused.value.code, refused.value.field) == ("limit", next(iter(values)))


def test_budgets_reset_on_the_first_day_of_the_next_month() -> None:
    days = (date(2026, 12, 31), date(2028, 1, 31), date(2028, 2, 29))
    assert [usage.resets_on(day) for day in days] == [date(2027, 1, 1), date(2028, 2, 1), date(2028, 3, 1)]
