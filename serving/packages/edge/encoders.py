"""What a browser needs to know of a trained encoder besides its files: windows, heads and fields, as JSON."""

import json
from pathlib import Path
from typing import Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, Field, Node
from slmstudio.contract.values import dates, numbers
from slmstudio.errors import Refused
from training.encoders.heads import Head
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.windows import special_tokens

TOKENIZER = "tokenizer.json"
#: steps before the model of a tokenizer, and the options of each that a page supports
_STEPS: dict[str, dict[str, Any]] = {
    "BertPreTokenizer": {},
    "ByteLevel": {"add_prefix_space": False, "use_regex": True},
    "Digits": {},
}


def description(folder: Path, schema: CompiledSchema) -> dict[str, Any]:
    """The encoder of an exported folder.

    Raises:
        Refused: the folder holds none, or (code ``edge``) one whose tokenizer no page supports.
    """
    from tokenizers import Tokenizer

    known = HeadsDescription.load(folder)
    check_tokenizer(json.loads((folder / TOKENIZER).read_text(encoding="utf-8")))
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    before, after = special_tokens(tokenizer)
    nodes = {node.pattern: node for node in schema.root.nodes()}
    heads: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for head in known.heads(schema):
        kind = "tags" if head.kind == "rows" else head.kind
        heads.append({**_head(head, counts.get(kind, 0), nodes), "isGlued": head.pattern in known.glued})
        counts[kind] = counts.get(kind, 0) + 1
    return {
        "window": known.window,
        "lineBreak": known.line_break,
        "before": before,
        "after": after,
        "heads": heads,
        "tree": _node(schema.root),
        "spelling": {pattern: spelling.state() for pattern, spelling in known.spelling.items()},
        "usual": {pattern: json.loads(text) for pattern, text in known.usual.items()},
    }


def check_tokenizer(described: dict[str, Any]) -> None:
    """Raises Refused where a page cannot tokenize as ``tokenizer.json`` says."""
    model, step = described["model"], described["pre_tokenizer"] or {}
    steps = step.get("pretokenizers", [step])
    normalizer = (described["normalizer"] or {}).get("type", "")
    problem = ""
    if model["type"] not in ("WordPiece", "BPE") or model.get("byte_fallback") or model.get("dropout"):
        problem = f"its model is {model['type']}"
    elif normalizer not in ("", "NFC", "BertNormalizer"):
        problem = f"it normalizes by {normalizer}"
    elif any(token["single_word"] for token in described["added_tokens"]):
        problem = "some of its added tokens are whole words only"
    for part in steps:
        wanted = _STEPS.get(part.get("type", ""))
        if wanted is None or any(part.get(name) != value for name, value in wanted.items()):
            problem = problem or f"it divides texts by {part.get('type', 'nothing')}"
    expected = "BertPreTokenizer" if model["type"] == "WordPiece" else "ByteLevel"
    if problem or steps[-1]["type"] != expected:
        raise Refused(
            f"The page cannot divide texts into tokens as this model does: {problem or 'its steps do not fit'}. It "
            "supports WordPiece and byte-level BPE.",
            code="edge",
        )


def notes(schema: CompiledSchema) -> list[str]:
    """What differs from the server."""
    sentences = [
        "In int8, sums are rounded differently from the server's: confidence differs, and now and then an output.",
        "Numbers are shown without zeros at the end of their decimals, and have at most 15 exact digits.",
        "Confidence is the probability of the model, without calibration.",
    ]
    if invariants.declared(schema):
        sentences.append("Rules between fields are not checked, and do not choose between likely values.")
    return sentences


def _head(head: Head, number: int, nodes: dict[str, Node]) -> dict[str, Any]:
    return {
        "kind": head.kind,
        "pattern": head.pattern,
        "number": number,
        "leaf": None if head.leaf is None else leaf_of(head.leaf, nodes[head.leaf.pattern]),
        "typeName": "" if head.type_leaf is None else head.type_leaf.name,
        "classes": json.loads(dumps(list(head.classes))),
        "several": head.several,
        "hasNumbers": head.has_numbers,
        "columns": [_head(column, 0, nodes) for column in head.columns],
        "choices": [_head(choice, 0, nodes) for choice in head.choices],
        "item": None if head.item is None else _node(head.item),
    }


def leaf_of(leaf: Field, node: Node) -> dict[str, Any]:
    """A field whose values are stretches of the document, as the scripts read them."""
    is_date = leaf.format == "date"
    return {
        "pattern": leaf.pattern,
        "name": leaf.name,
        "type": leaf.type,
        "isDate": is_date,
        "isText": leaf.kind == "text",
        "nullable": leaf.nullable,
        "required": leaf.required,
        "decimalMark": numbers.decimal_mark(leaf.locale),
        "hasLocale": bool(leaf.locale),
        "accounting": leaf.accounting,
        "dateOrder": leaf.date_order,
        "monthFirst": dates.is_month_first(leaf.locale),
        "months": dates.month_names(leaf.locale) if is_date else {},
        "schema": None if "$ref" in dumps(node.schema) else json.loads(dumps(node.schema)),
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "shape": node.shape,
        "pattern": node.pattern,
        "required": node.required,
        "nullable": node.nullable,
        "children": {name: _node(child) for name, child in node.children.items()},
    }
