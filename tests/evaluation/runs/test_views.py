"""The list of evaluations, a new one, and the page of one."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import outputs
from evaluation.runs.services import start_evaluation
from labeling.datasets.freeze import freeze
from tests.evaluation.factories import World, evaluated, pretend, rename_vendor, right

LIST, NEW = "/p/invoices/evaluation/", "/p/invoices/evaluation/new/"
HTMX = {"HX-Request": "true"}


def queued(world: World, **changes: Any) -> EvalRun:
    order = {"split": "holdout", "model": world.base_model, "confirm_holdout": True, **changes}
    return start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, **order)


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_opens_on_validation(world: World, engineer: Client) -> None:
    evaluated(world, right)
    assertContains(engineer.get(LIST), "evaluation/1/")
    evaluated(world, right, split="validation", tuned=False)
    assert [run.number for run in engineer.get(LIST).context["page"]] == [2]
    assert [run.number for run in engineer.get(LIST + "?split=all").context["page"]] == [2, 1]
    for role, may in ((world.engineer, True), (world.annotator, False)):
        engineer.force_login(role)
        assert (f'href="{NEW}"' in engineer.get(LIST).text) is may, role


def test_a_longer_list_takes_no_more_queries(
    world: World, engineer: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(6):
        queued(world)
    evaluated(world, right)
    with django_assert_max_num_queries(7):
        engineer.get(LIST)


# -- a new one --------------------------------------------------------------------------------------------------------


def order(**changes: str) -> dict[str, str]:
    confirmed = "0" if changes.get("model", "").startswith("base") else "1"
    return {
        "model": "run-1", "dataset": "1", "split": "holdout", "mode": "constrained", "confirmed": confirmed, **changes
    }  # fmt: skip


def test_an_evaluation_is_started_from_the_form(world: World, engineer: Client) -> None:
    answer = engineer.post(NEW, order())
    run = EvalRun.objects.get()
    assert answer["Location"] == run.get_absolute_url()
    assert (run.training_run, run.split, run.mode, run.created_by) == (
        world.training_run, "holdout", "constrained", world.engineer,
    )  # fmt: skip
    answer = engineer.post(NEW, order(model="base-small-base", mode="free"), headers=HTMX)
    assert answer["HX-Redirect"] == "/p/invoices/evaluation/2/"
    assert EvalRun.objects.get(number=2).base_model == world.base_model


def test_a_hold_out_evaluation_is_confirmed_at_its_price(world: World, engineer: Client) -> None:
    for confirmed in ("", "2", "0"):
        answer = engineer.post(NEW, order(confirmed=confirmed), headers=HTMX)
        assert answer.status_code == 422
        assert answer.context["form"].errors.keys() == {"confirmed"}
        assertContains(answer, 'name="confirmed" value="1"', status_code=422)
    assert not EvalRun.objects.exists()


def test_the_price_follows_the_selection(world: World, engineer: Client) -> None:
    def price(query: str) -> list[str]:
        """The number that is to be confirmed."""
        text = engineer.get(f"{NEW}?part=price&{query}", headers=HTMX).text
        return re.findall(r'name="confirmed" value="(\d+)"', text)

    assert price("model=run-1&dataset=1&split=validation") == []
    assert price("model=run-1&dataset=1&split=holdout") == ["1"]
    assert price("split=holdout") == ["1"]
    assert price("model=base-small-base&dataset=1&split=holdout") == ["0"]
    queued(world, model=world.training_run)
    assert price("model=run-1&dataset=1&split=holdout") == ["2"]
    assertNotContains(engineer.get(NEW), 'name="confirmed"')


def test_the_forms_warn_of_an_older_schema(world: World, engineer: Client) -> None:
    run = evaluated(world, right)
    rename_vendor(world)
    address = f"{NEW}?model=run-1&split=holdout"
    assert any("current schema" in text for text in engineer.get(address).context["form"].dataset_warnings)
    report = engineer.get(f"/p/invoices/gates/new/?eval_run={run.number}")
    assert len(report.context["dataset_warnings"]) == 1
    freeze(project=world.project, user=world.engineer, validation_share=0.1)
    form = engineer.get(address).context["form"]
    assert form["dataset"].value() == "1"
    assert any("current schema" in text for text in form.dataset_warnings)
    [warning] = engineer.get(f"{address}&dataset=2").context["form"].dataset_warnings[:1]
    assert "trained on schema v1" in warning


def test_refusal_is_shown_at_its_form_field(world: World, engineer: Client) -> None:
    world.dataset.items.filter(split="validation").delete()
    for name, value in (
        ("model", "run-99"), ("model", ""), ("dataset", "99"), ("split", "everything"), ("mode", "wild"),
        ("split", "validation"),
    ):  # fmt: skip
        answer = engineer.post(NEW, order(**{name: value}), headers=HTMX)
        assert answer.status_code == 422
        assert answer.context["form"].errors.keys() == {name}
        assertNotContains(answer, "<html", status_code=422)
    assert not EvalRun.objects.exists()


# -- while it runs ----------------------------------------------------------------------------------------------------


def test_a_live_run_shows_its_progress_and_the_page_comes_back_when_it_ends(world: World, engineer: Client) -> None:
    run = queued(world)
    address = run.get_absolute_url()
    assertContains(engineer.get(address), "waiting for a worker")
    run.claim()
    run.record(progress_done=3, stage="generating")
    live = engineer.get(address + "?part=live", headers=HTMX)
    assertContains(live, "3 of 12")
    assertContains(live, 'hx-trigger="every 2s"')
    run.fail("Something broke.")
    assert engineer.get(address + "?part=live", headers=HTMX)["HX-Refresh"] == "true"
    assertContains(engineer.get(address), "Something broke.")


@pytest.mark.parametrize("end", ["live", "cancelled", "failed"])
def test_what_is_answered_on_the_hold_out_is_not_seen_before_the_end(world: World, engineer: Client, end: str) -> None:
    """A look at a part of it would be one that nobody counts."""
    pages = {}
    for split in ("holdout", "validation"):
        run = start_evaluation(
            project=world.project, user=world.engineer, dataset=world.dataset, split=split,
            model=world.training_run, confirm_holdout=True,
        )  # fmt: skip
        run.claim()
        store = outputs.OutputWriter(run)
        row = next(iter(store.rows.values()))
        store.add({"id": row["id"], "raw": "a word that is looked for"})
        store.flush()
        if end == "cancelled":
            run.cancelled()
        if end == "failed":
            run.fail("It broke.")
        address = run.get_absolute_url()
        output = f"{address}outputs/{store.documents[row['id']]}/"
        fragment = "?part=live" if end == "live" else "?q=looked+for"
        pages[split] = [engineer.get(address), engineer.get(address + fragment, headers=HTMX), engineer.get(output)]
    _, part, output_page = pages["validation"]
    assertContains(part, "so far" if end == "live" else row["id"])
    assertContains(output_page, "a word that is looked for")
    page, part, output_page = pages["holdout"]
    assert not EvalRun.objects.get(split="holdout").outputs_visible
    assertNotContains(page, "so far")
    assertNotContains(page, "output-row")
    assertNotContains(part, "so far")
    assertNotContains(part, "output-row")
    assert output_page.status_code == 404


# -- when it has ended ------------------------------------------------------------------------------------------------


def test_the_list_of_outputs_is_what_the_address_asks_for(world: World, engineer: Client) -> None:
    run = evaluated(world, pretend(5, spoil=0.5, invalid=0.2))
    address = run.get_absolute_url()
    for state in ("valid", "invalid", "exact", "inexact", "failed"):
        expected = set(run.outputs.in_state(state).values_list("document_id", flat=True))
        page = engineer.get(f"{address}?state={state}", headers=HTMX)
        assert {row.document_id for row in page.context["page"]} == expected
    row = EvalOutput.objects.filter(eval_run=run).exclude(wrong_fields=[]).exclude(tags=[]).first()
    assert row is not None
    query = f"field={row.wrong_fields[0]}&error={row.errors[0]}&tag={row.tags[0]}&q={row.document.external_id}"
    listed = engineer.get(f"{address}?{query}").context["page"]
    assert row.pk in {output.pk for output in listed}
    assert all(row.wrong_fields[0] in output.wrong_fields and row.tags[0] in output.tags for output in listed)
    assert not engineer.get(f"{address}?field=nothing").context["page"].paginator.count
    nul = "&".join(f"{name}=%00" for name in ("state", "field", "outcome", "error", "tag", "q"))
    assert engineer.get(f"{address}?{nul}").context["page"].paginator.count == 12, "a NUL is passed over"
    assert engineer.get(f"{address}outputs/{row.document_id}/?{nul}").status_code in (200, 404)


def test_output_is_shown_with_document_and_gold(world: World, engineer: Client) -> None:
    def say(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": '{"vendor":"<script>alert(1)</script>"}'}

    run = evaluated(world, say)
    row = run.outputs.earliest("document_id")
    address = f"{run.get_absolute_url()}outputs/{row.document_id}/"
    page = engineer.get(address)
    assertContains(page, "1 of 12")
    assertNotContains(page, "<script>alert")
    fragment = engineer.get(address, headers=HTMX)
    assertNotContains(fragment, "<html")
    assertContains(fragment, '<mark class="diff">')
    assertContains(fragment, "is required")
    assert engineer.get(f"{run.get_absolute_url()}outputs/999999/").status_code == 404
