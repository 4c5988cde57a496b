"""The rules of a freeze (groups, strata, filters), its events, and concurrent changes."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.datasets import files as dataset_files
from labeling.datasets import freeze as freeze_module
from labeling.datasets import freeze_candidates
from labeling.datasets.families import families_of, family_warnings, family_word, known_documents, large_families
from labeling.datasets.freeze import freeze, process, start_freeze
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.queries import near_duplicate_pairs, rows
from labeling.jobs import run_freeze
from labeling.models import DatasetVersion, Document, FreezeRun, Gold, Origin, Webhook, WebhookDelivery
from slmstudio import hooks
from slmstudio.errors import Refused
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.labeling.label_desk import change_schema


def frozen(desk: Desk, **more: Any) -> DatasetVersion:
    return freeze(project=desk.project, user=desk.people["engineer"], **more)


def sides(dataset: DatasetVersion) -> dict[str, str]:
    return dict(dataset.items.values_list("document__external_id", "split"))


def test_groups_share_a_split(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, company=f"c{number % 9}") for number in range(60)])
    dataset = frozen(desk, rules=Rules(group_by="metadata.company"), validation_share=0.2)
    splits = [set[str]() for _ in range(9)]
    for name, split in sides(dataset).items():
        splits[int(name[-4:]) % 9].add(split)
    assert [len(group) for group in splits] == [1] * 9
    assert set.union(*splits) == {"train", "validation", "holdout"}


def test_a_rare_tag_is_in_every_split(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, tags=["rare_layout"] if number < 6 else []) for number in range(60)])
    counts = frozen(desk, rules=Rules(stratify="tags")).counts
    assert counts["tags"]["rare_layout"] == 6
    assert counts["holdout_tags"]["rare_layout"] >= 1
    assert counts["validation_tags"]["rare_layout"] >= 1


def test_group_members_of_holdout_are_excluded(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, company="acme")], as_holdout=True)
    bring_in(desk.project, [invoice(2, company="acme"), invoice(3, company="globex"), invoice(4)])
    dataset = frozen(desk, rules=Rules(group_by="metadata.company"))
    assert dataset.counts["left_out"]["related_to_holdout"] == 1
    assert "inv-0002" not in sides(dataset)


def test_filters_exclude_but_not_the_holdout(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)], as_holdout=True)
    bring_in(desk.project, [invoice(n, tags=["ocr_noise"] if n % 2 else []) for n in range(10, 20)])
    rules = Rules(without_tags=("ocr_noise",), origins=("imported",))
    ahead = freeze_candidates.preview(project=desk.project, rules=rules)
    counts = frozen(desk, rules=rules).counts
    assert (ahead.documents, ahead.excluded, ahead.held_out) == (6, 5, 1)
    assert (counts["documents"], counts["left_out"]["not_chosen"], counts["splits"]["holdout"]) == (6, 5, 1)


def test_invalid_rules_are_refused(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    for rules, field in (
        (Rules(similarity=0.1), "similarity"),
        (Rules(similarity=1.5), "similarity"),
        (Rules(most=1), "most"),
        (Rules(group_by="metadata."), "group_by"),
        (Rules(group_by="text"), "group_by"),
        (Rules(large_families="spread"), "large_families"),
        (Rules(large_families="moon", group_by="source"), "large_families"),
        (Rules(group_by="metadata.a\0"), "group_by"),
        (Rules(stratify="vendor"), "stratify"),
        (Rules(stratify="nowhere"), "stratify"),
    ):
        with pytest.raises(Refused) as caught:
            frozen(desk, rules=rules)
        assert caught.value.field == field, rules


def test_rules_without_matches_are_refused(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "no_training"):
        frozen(desk, rules=Rules(tags=("handwriting",)))
    bring_in(desk.project, [invoice(3, company="a")], as_holdout=True)
    Document.objects.update(metadata={"company": "a"})
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "no_training"):
        frozen(desk, rules=Rules(group_by="metadata.company"))


def test_pre_labeled_holdout_is_excluded(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)], as_holdout=True)
    bring_in(desk.project, [invoice(3), invoice(4)])
    Gold.objects.filter(document__external_id="inv-0002").update(origin=Origin.PRELABELLED)
    assert freeze_candidates.preview(project=desk.project).not_by_people == 1
    dataset = frozen(desk)
    assert dataset.counts["left_out"]["holdout_not_by_people"] == 1
    assert dataset.counts["holdout_origins"] == {"imported": 1}
    assert "inv-0002" not in sides(dataset)


def test_holdout_is_permanent(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    first = frozen(desk)
    Document.objects.update(holdout=False)  # by whatever way
    bring_in(desk.project, [invoice(number) for number in range(30, 40)])
    second = frozen(desk, seed=3)
    assert first.holdout_sha256 == second.holdout_sha256


def test_near_duplicates_share_a_split_and_are_listed(desk: Desk) -> None:
    long = " ".join(f"line {n} of a long invoice from Acme Supplies" for n in range(20))
    same = [{**invoice(n), "text": f"{long} copy {n}"} for n in range(12)]
    bring_in(desk.project, [*same, *[{**invoice(n), "text": f"{n} " * 60} for n in range(20, 50)]])
    dataset = frozen(desk, validation_share=0.3)
    copies = {split for name, split in sides(dataset).items() if int(name[-4:]) < 12}
    assert len(copies) == 1
    pairs = near_duplicate_pairs(dataset)
    assert len(pairs) == dataset.counts["near_duplicates"]["pairs"] == 66
    assert dataset.counts["near_duplicates"]["groups"] == 1
    assert near_duplicate_pairs(dataset, only_split=True) == []
    dataset.artifact_key = "datasets/0/dataset.jsonl"
    assert near_duplicate_pairs(dataset) == []


def test_freeze_emits_event_and_audit_entry(desk: Desk) -> None:
    noted: list[dict[str, Any]] = []

    def recorder(**entry: Any) -> None:
        noted.append(entry)

    hooks.audit_noted.register(recorder)
    try:
        desk.project.webhook_events = ["dataset.frozen"]
        desk.project.save(update_fields=["webhook_events"])
        Webhook.objects.create(project=desk.project, url="https://example.com/x", events=["dataset.frozen"])
        bring_in(desk.project, [invoice(1), invoice(2)])
        dataset = frozen(desk)
        assert frozen(desk).pk == dataset.pk
    finally:
        hooks.audit_noted.unregister(recorder)
    (delivery,) = WebhookDelivery.objects.all()
    assert delivery.payload["dataset"] == 1
    assert delivery.payload["sha256"] == dataset.sha256
    (entry,) = [entry for entry in noted if entry["action"] == "froze"]
    assert (entry["about"], entry["details"]["documents"]) == ("dataset v1", 2)


def test_superseded_freeze_creates_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two freezes at once draw two hold-outs; the later one to end says so."""
    bring_in(desk.project, [invoice(number) for number in range(20)])
    write = dataset_files.write_rows

    def concurrent(*arguments: Any) -> Any:
        monkeypatch.setattr(dataset_files, "write_rows", write)
        frozen(desk, seed=99)
        return write(*arguments)

    monkeypatch.setattr(dataset_files, "write_rows", concurrent)
    with pytest.raises(Refused, match="Another user changed the hold-out"):
        frozen(desk)
    assert DatasetVersion.objects.count() == 1
    assert len(list(rows(DatasetVersion.objects.get()))) == 20


@pytest.mark.parametrize(
    ("number", "concurrent", "after"),
    [
        (13, {"holdout": True}, ["holdout"]),  # else it is trained on now, and judged by the next version
        (3, {"holdout": False}, ["train", "validation"]),
        (13, {"state": "rejected"}, [None]),
        (3, {"state": "skipped"}, [None]),
    ],
)
def test_moved_document_cancels_the_freeze(
    desk: Desk, number: int, concurrent: dict[str, Any], after: list[str | None]
) -> None:
    bring_in(desk.project, [invoice(n) for n in range(8)], as_holdout=True)
    bring_in(desk.project, [invoice(n) for n in range(8, 20)])
    moved = Document.objects.filter(external_id=f"inv-{number:04}")

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "storing":
            moved.update(**concurrent)

    with pytest.raises(Refused, match="Documents were moved"):
        frozen(desk, progress=progress)
    assert not DatasetVersion.objects.exists()
    assert sides(frozen(desk)).get(moved.get().external_id) in after


def test_new_holdout_is_locked_in_order(desk: Desk) -> None:
    """An update of many rows locks them in any order, and waits for ever with one that does it the other way round."""
    bring_in(desk.project, [invoice(n) for n in range(20)])
    with CaptureQueriesContext(connection) as queries:
        frozen(desk)
    asked = [query["sql"] for query in queries if 'labeling_document"' in query["sql"]]
    update = next(number for number, sql in enumerate(asked) if sql.startswith("UPDATE"))
    assert asked[update - 1].startswith('SELECT "labeling_document"."id" AS "pk"')
    assert asked[update - 1].endswith("ORDER BY 1 ASC FOR NO KEY UPDATE")


def test_changed_schema_cancels_the_freeze(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(desk.project, [invoice(number) for number in range(5)])
    plan = freeze_module._assign_splits

    def concurrent(*arguments: Any) -> Any:
        change_schema(desk.project, desk.people["engineer"], currency={"type": ["string", "null"]})
        return plan(*arguments)

    monkeypatch.setattr(freeze_module, "_assign_splits", concurrent)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "schema_changed"):
        frozen(desk)
    assert not DatasetVersion.objects.exists()
    assert not Document.objects.filter(holdout=True).exists()


def test_progress_is_saved_outside_transactions(transactional_db: None) -> None:
    """Otherwise progress would be visible only at the end, and a cancel would wait."""
    desk = make_desk()
    bring_in(desk.project, [invoice(number) for number in range(5)])
    emitted: list[tuple[str, bool]] = []
    frozen(desk, progress=lambda stage, done, total: emitted.append((stage, connection.in_atomic_block)))
    assert {stage for stage, _ in emitted} == {"comparing texts", "drawing", "writing", "storing"}
    assert not any(inside for _, inside in emitted)


def test_cancelled_freeze_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(desk.project, [invoice(number) for number in range(5)])
    settings: dict[str, Any] = {"rules": Rules(), "seed": 1, "validation_share": 0.1, "holdout_share": 0.2}
    beat = FreezeRun.send_heartbeat
    cancelled_at = ""

    def beating(self: FreezeRun, **changes: Any) -> bool:
        if changes.get("stage") == cancelled_at:
            FreezeRun.objects.filter(pk=self.pk).update(cancel_requested=True)
        return beat(self, **changes)

    monkeypatch.setattr(FreezeRun, "send_heartbeat", beating)
    for cancelled_at in ("comparing texts", "drawing", "writing", "storing"):
        run = start_freeze(project=desk.project, user=None, **settings)
        assert run.claim()
        process(run)
        run.refresh_from_db()
        assert (run.status, run.dataset) == ("cancelled", None), cancelled_at
        assert not DatasetVersion.objects.exists()
        assert not Document.objects.filter(holdout=True).exists()


def test_failed_freeze_has_an_error(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    run = start_freeze(project=desk.project, user=None, rules=Rules(), seed=1, validation_share=0.1, holdout_share=0.2)
    run_freeze(run.pk)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "No document has a gold label" in run.error


def test_families_are_stored_with_a_version(desk: Desk) -> None:
    bring_in(desk.project, [invoice(n, company=f"c{n % 20}") for n in range(40)] + [invoice(50, company="alone")])
    dataset = frozen(desk, rules=Rules(group_by="metadata.company"))
    ids = dict(Document.objects.values_list("pk", "external_id"))
    stored = dataset.items.filter(family__isnull=False).values_list("document__external_id", "family")
    family = {name: ids[leader or 0] for name, leader in stored}
    assert family == {f"inv-{number:04}": f"inv-{number % 20:04}" for number in range(40)}
    assert {row["id"]: row.get("family") for row in rows(dataset)} == {**family, "inv-0050": None}
    held = dataset.counts["families"]["splits"]["holdout"]
    assert (held["documents"], held["largest"]) == (dataset.counts["splits"]["holdout"], 2)
    assert families_of(dataset).keys() == set(
        dataset.items.filter(family__isnull=False).values_list("document", flat=True)
    )
    assert known_documents(dataset, "holdout") == set()
    assert (family_word(dataset, 1), family_word(dataset)) == ("company", "companies")


def test_a_large_family_that_nothing_tests_is_a_warning_unless_it_is_spread(desk: Desk) -> None:
    large = [invoice(n, company="acme") for n in range(30)]
    bring_in(desk.project, large + [invoice(n, company=f"c{n % 35}") for n in range(100, 170)])
    plain = frozen(desk, rules=Rules(group_by="metadata.company"))
    assert [family["name"] for family in plain.counts["families"]["large"]] == ["acme"]
    assert len(family_warnings(plain)) == 1
    DatasetVersion.objects.all().delete()
    Document.objects.update(holdout=False)
    spread = frozen(desk, rules=Rules(group_by="metadata.company", large_families="spread"))
    assert family_warnings(spread) == []
    held = spread.items.filter(split="holdout", document__metadata__company="acme").values_list("document", flat=True)
    assert known_documents(spread, "holdout") == set(held) != set()


def near_duplicates(count: int) -> list[dict[str, Any]]:
    """Rows with nearly the same text, under ids that begin with dn."""
    words = " ".join(f"word{number}" for number in range(60))
    return [{**invoice(900 + n), "id": f"dn-{n}", "text": f"{words} {n}"} for n in range(count)]


@pytest.mark.parametrize(("count", "warned"), [(2, False), (6, True)])
def test_near_duplicates_that_nothing_tests(desk: Desk, count: int, warned: bool) -> None:
    """Two of twelve say nothing; they are no large group, and cannot be spread."""
    rows = near_duplicates(count)
    bring_in(desk.project, [*rows, *(invoice(n) for n in range(12 - count))])
    bring_in(desk.project, [invoice(n) for n in range(50, 55)], as_holdout=True)
    dataset = frozen(desk)
    (family,) = dataset.counts["families"]["large"]
    assert (family["documents"], family["near_duplicates"]) == (count, True)
    assert large_families(dataset)[0]["name"] != family["name"]
    assert len(family_warnings(dataset)) == warned
    assert not any("spread" in warning for warning in family_warnings(dataset))


def test_a_large_group_is_a_warning_before_the_holdout_is_drawn(desk: Desk) -> None:
    bring_in(desk.project, [invoice(n, company="acme" if n < 10 else f"c{n}") for n in range(40)])
    by_company = Rules(group_by="metadata.company")
    large = [
        freeze_candidates.preview(project=desk.project, rules=rules).large
        for rules in (Rules(), by_company, replace(by_company, large_families="whole"))
    ]
    assert large == [[], [("acme", 0.25)], []]
    frozen(desk, rules=by_company)
    assert freeze_candidates.preview(project=desk.project, rules=by_company).large == []
