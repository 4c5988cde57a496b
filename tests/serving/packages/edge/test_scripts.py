"""The scripts of bundles in Node: tokens, values and spelling as in Python."""

import json
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest

from serving.packages.edge.encoders import check_tokenizer, description, leaf_of
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from tests.test_scripts import node
from tests.training.ml.encoders.test_output_decoder import GOLD, SCHEMA, TEXT, delivery, perfect, pieces, windows
from training.encoders.heads import plan_heads
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.output_decoder import value_of
from training.ml.encoders.spelling import RULES, Spelling
from training.ml.modeling.tiny_model import _tokenizer

TEXTS = (
    "Invoice A-17 of 3 March 2026\nAda Lovelace  \n\n total $12.50 ",
    "Grüße ﬁne ＦＵＬＬ ①½ naïve İstanbul ΣΑΣ ß don't we'll",
    "日本語 中文字 한국어 a\u00adb\u200bc\ufeff d\u00a0e\u3000f\tg\x00i",
    "😀👍🏽 e\u0301 a\u0323\u0301 <|im_start|>hi<|im_end|>[SEP]",
    "x" * 101,
    "",
)


def byte_level(normalizer: Any = None) -> Any:
    made = _tokenizer().backend_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    return made


def word_piece(**options: Any) -> Any:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    words = ["[UNK]", "[SEP]", "invoice", "ada", "##voice", "in", "of", "grusse", "12", "naive", "日", "##x", "x"]
    words += [chr(code) for code in range(33, 127)] + [f"##{chr(code)}" for code in range(33, 127)]
    made = Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer(**options)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([AddedToken("[SEP]", special=True, normalized=False)])
    return made


def in_node(script: str, **values: Any) -> Any:
    """What an expression of JavaScript over ``values`` is, with the scripts of a bundle."""
    imports = "".join(
        f"import {{ {names} }} from './static/js/edge/{module}.js';"
        for names, module in (("Tokenizer", "tokenizer"), ("valueOf, spelled", "values"), ("OutputDecoder", "decoding"))
    )
    with NamedTemporaryFile("w", suffix=".json") as file:  # too long for an argument
        file.write(dumps(values))
        file.flush()
        named = f"const {{ {', '.join(values)} }} = JSON.parse(readFileSync('{file.name}', 'utf-8'));"
        script = f"{imports}{named}process.stdout.write(JSON.stringify({script}))"
        return json.loads(node("--input-type=module", "-e", f"import {{ readFileSync }} from 'node:fs';{script}"))


def test_tokens_and_their_places_are_those_of_the_tokenizer() -> None:
    from tokenizers import normalizers

    kinds = [
        byte_level(), byte_level(normalizers.NFC()), word_piece(lowercase=True), word_piece(lowercase=False),
    ]  # fmt: skip
    for tokenizer in kinds:
        described = json.loads(tokenizer.to_str())
        check_tokenizer(described)
        made = in_node(
            "texts.map((text) => new Tokenizer(described).encode(text).map(({ id, start, end }) => [id, start, end]))",
            described=described,
            texts=TEXTS,
        )
        for text, tokens in zip(TEXTS, made, strict=True):
            encoding = tokenizer.encode(text, add_special_tokens=False)
            assert tokens == [[number, *place] for number, place in zip(encoding.ids, encoding.offsets, strict=True)]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": {"type": "Unigram"}}, "its model is Unigram"),
        ({"normalizer": {"type": "NFKC"}}, "normalizes by NFKC"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "divides texts by Metaspace"),
        ({"pre_tokenizer": None}, "divides texts by nothing"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}}, "by ByteLevel"),
        ({"pre_tokenizer": {"type": "Digits"}}, "its steps do not fit"),
    ],
)
def test_other_tokenizers_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        check_tokenizer(json.loads(byte_level().to_str()) | changes)


def typed(type_: str, **marks: Any) -> dict[str, Any]:
    return {"type": type_, "x-slm": marks} if type_ != "date" else {"type": "string", "format": "date", "x-slm": marks}


FIELDS = {
    "number": {"type": ["number", "null"]},
    "number_de": typed("number", locale="de_DE"),
    "whole": typed("integer"),
    "count": {"type": "integer", "minimum": 0},
    "unsigned": {"type": "number"},
    "day": {"type": ["string", "null"], "format": "date"},
    "day_us": typed("date", locale="en_US"),
    "day_de": typed("date", locale="de_DE"),
    "day_ymd": typed("date", date_order="YMD"),
}
STRETCHES = (
    "12.50", "1,248.50", "1.248,50", "1 248,50", "1'248.50", "USD 12.50", "12.50-", "(12.50)", "−7", "RM9.90",
    "200 pcs", "x2", "A1029", "M8 25", "1.248", ".5", "007", "Total: 12.50", "Total 12.50 EUR", "5 of 7", "12%",
    "1,23,456.7", "550 625", "null", "–", "3.0", "Rs. 500", "5.-", "9" * 61, "2026-03-14", "14/03/2026", "03/14/2026",
    "03/04/2026", "3.4.2026", "03.04.26", "14 March 2026", "March 14, 2026", "14. März 2026", "14 mars 2026",
    "14MAR26", "20260314", "14032026", "2026年3月14日", "Sat 14 Mar 2026 12:30", "14/03/2026 10:22 AM",
    "Date: 14/03/2026", "31/02/2026", "29/02/2024", "2 10 15", "14th of March 2026", "14 de marzo de 2026",
    "(20)", "LED panel (20)", "LED panel (20", "(-20)", "(USD 1,234.50)", "items (1,234.50) of",
    "12/25/69", "from 1/2/2026 to 3/2/2026", "1/13/2026 and 2/13/2026", "10 -12-2020", "25-12-2018 20:13",
)  # fmt: skip
DOCUMENTS = ("", "Order 27/03/2026", "Order 03/27/2026", "27/03/2026 and 03/27/2026")


def test_values_of_stretches_are_those_of_the_contract() -> None:
    from training.ml.encoders.output_decoder import _Document

    compiled = compile_schema({"type": "object", "properties": FIELDS})
    nodes = {node.pattern: node for node in compiled.root.nodes()}
    leaves = {head.pattern: head.leaf for head in plan_heads(compiled, ["unsigned"]).heads if head.leaf is not None}
    cases = [
        (pattern, stretch, document, order)
        for pattern in leaves
        for stretch in STRETCHES
        for document in (DOCUMENTS if pattern == "day" else DOCUMENTS[:1])
        for order in (("", "MDY") if pattern == "day" else ("",))
    ]
    made = in_node(
        "cases.map(([leaf, stretch, text, order]) => valueOf(leaves[leaf], stretch, text, { order }))",
        leaves={pattern: leaf_of(leaf, nodes[pattern]) for pattern, leaf in leaves.items()},
        cases=cases,
    )
    for (pattern, stretch, document, order), text in zip(cases, made, strict=True):
        wanted = value_of(leaves[pattern], stretch, _Document(document, order), None)
        assert (None if text is None else loads(text)) == wanted, (pattern, stretch, document, order)
    assert sum(text is not None for text in made) > len(made) / 4


def test_spelling_rules_are_those_of_training() -> None:
    texts = ("NO.1,JALAN A . B ,C", "a. b.cd .", "Straße A ,.;", "K\u200bB  x")
    spellings = [{"rules": [rule], "known": {}} for rule in RULES] + [{"rules": [], "known": {"strassea": "Street"}}]
    cases = [(spelling, text) for spelling in spellings for text in texts]
    made = in_node("cases.map(([spelling, text]) => spelled(text, spelling))", cases=cases)
    assert made == [Spelling(**spelling).apply(text) for spelling, text in cases]  # type: ignore[arg-type]


@pytest.mark.parametrize("glued", [(), ("number", "names", "items")])
def test_outputs_of_scores_are_those_of_the_server(tmp_path: Path, glued: tuple[str, ...]) -> None:
    """Of a model that has learned the gold, and of some whose scores are off by chance."""
    compiled = compile_schema(SCHEMA)
    longest = dict.fromkeys(("number", "total", "day"), 40)
    known = HeadsDescription(schema_sha256=compiled.hash, window=48, longest=longest, glued=glued)
    known.save(tmp_path, [])
    byte_level().save(str(tmp_path / "tokenizer.json"))
    parts, random = windows(TEXT, 48), np.random.default_rng(3)
    learned = [{**score, "decision.2": np.array([1.0, 2.0])} for score in perfect(compiled, GOLD, TEXT, parts)]
    cases = [
        [{name: values + random.normal(0, noise, values.shape) for name, values in score.items()} for score in learned]
        for noise in (0.0, 6.0, 12.0, 18.0, 30.0)
    ]
    made = in_node(
        "cases.map((scores) => new OutputDecoder(contract).decode(text, parts, scores))",
        contract={**description(tmp_path, compiled), "schema": SCHEMA},
        text=TEXT,
        parts=[{"tokens": [{"start": s, "end": e} for s, e in zip(p.starts, p.ends, strict=True)]} for p in parts],
        cases=[[{name: tensor(values) for name, values in score.items()} for score in scores] for scores in cases],
    )
    for scores, answer in zip(cases, made, strict=True):
        wanted = known.decoder(compiled).decode(TEXT, parts, scores)
        assert answer["output"] == json.loads(dumps(wanted.value))
        assert answer["confidence"] == pytest.approx(wanted.confidence)
        assert not answer["problems"]
    assert made[0]["output"] == json.loads(dumps(GOLD))
    assert len({dumps(answer["output"]["items"]) for answer in made}) > 3


@pytest.mark.parametrize("required", [True, False])
def test_a_value_that_a_column_does_not_allow_is_treated_as_on_the_server(tmp_path: Path, required: bool) -> None:
    schema = delivery({"type": "integer", "minimum": 1})
    schema["properties"]["items"]["items"]["required"] = ["description", "quantity"][: 1 + required]
    compiled, text = compile_schema(schema), "napkins -20\nLED (3)\nSchreibtisch 5 -6"
    known = HeadsDescription(schema_sha256=compiled.hash, window=512)
    known.save(tmp_path, [])
    byte_level().save(str(tmp_path / "tokenizer.json"))
    [part], random = windows(text), np.random.default_rng(5)
    [learned] = perfect(compiled, pieces(napkins=-20, LED=3, Schreibtisch=5), text, [part])
    cases = [
        {name: values + random.normal(0, noise, values.shape) for name, values in learned.items()}
        for noise in (0.0, 6.0, 9.0, 12.0, 15.0, 18.0, 20.0)
    ]
    made = in_node(
        "cases.map((scores) => new OutputDecoder(contract).decode(text, [part], [scores]))",
        contract={**description(tmp_path, compiled), "schema": schema},
        text=text,
        part={"tokens": [{"start": s, "end": e} for s, e in zip(part.starts, part.ends, strict=True)]},
        cases=[{name: tensor(values) for name, values in scores.items()} for scores in cases],
    )
    for scores, answer in zip(cases, made, strict=True):
        wanted = known.decoder(compiled).decode(text, [part], [scores])
        assert answer["output"] == json.loads(dumps(wanted.value))
        assert answer["confidence"] == pytest.approx(wanted.confidence)
    assert bool(made[0]["problems"]) == required


def tensor(values: Any) -> dict[str, Any]:
    """An output of one window as ONNX Runtime gives it to a page."""
    return {"dims": [1, *values.shape], "data": values.ravel().tolist()}
