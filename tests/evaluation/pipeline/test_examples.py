"""The example jobs: what they commit to can be read by what reads it."""

import json
from pathlib import Path

from evaluation.gates.policy.definition import GateSet
from examples.redaction.messages import messages
from examples.rows import held_out, routing
from labeling.contract.schema_text import read_schema
from labeling.demo.templates import template
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema

FOLDER = Path(__file__).parents[3] / "examples"


def test_its_gates_are_a_policy() -> None:
    for job in ("receipts", "routing", "redaction"):
        policy = GateSet.from_json(json.loads((FOLDER / job / "gates.json").read_text()))
        assert policy[0].metric == "schema_valid_rate"


def test_messages_hold_their_spans_in_order_and_fit_the_contract() -> None:
    schema = compile_schema(template("pii-redaction").schema)
    rows = list(messages(60, seed=3))
    assert {row["language"] for row in rows} == {"en", "de", "fr"}
    for row in rows:
        assert not schema.validate(row["gold"])
        at = 0
        for span in row["gold"]["spans"]:
            at = row["text"].index(span["text"], at) + len(span["text"])


def test_near_duplicates_stay_on_one_side() -> None:
    text = "A long message about a card that was swallowed by the machine at the station, number {}"
    rows = [{"id": str(number), "text": text.format(number)} for number in range(20)]
    rows += [{"id": f"other-{number}", "text": f"{number} " * 40} for number in range(20)]
    train, held = held_out(rows, 10)
    assert len({row["id"].startswith("other") for row in held}) == 1
    assert (len(held) <= 10, len(train) + len(held)) == (True, 40)


def test_routing_takes_the_classes_of_its_contract(tmp_path: Path) -> None:
    read_schema(dumps(json.loads((FOLDER / "routing" / "contract.json").read_text())["schema"]))
    source = tmp_path / "train.csv"
    source.write_text('text,category\n"Where, please, is my card?",card_arrival\nLost it.,some_other_class\n')
    assert routing(source) == [
        {"id": "card_arrival-1", "text": "Where, please, is my card?", "gold": {"queue": "card_arrival"}}
    ]
