"""The files of a trained encoder: its own, ``heads.safetensors``, and ``heads.json`` with what decoding needs.

No code is in the folder: what a head does is in this package.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.text.formatting import first_names
from training.encoders.heads import DATE_ORDER, Head, plan_heads, trained_heads
from training.ml.encoders.output_decoder import OutputDecoder
from training.ml.encoders.spelling import Spelling
from training.strict_yaml import STRICT, build

FORMAT = 1
#: tokens; more would be no window, and memory for nothing
_Tokens = Annotated[int, Field(strict=True, ge=1, le=10_000)]
DESCRIPTION, HEADS = "heads.json", "heads.safetensors"


def _kinds(heads: Sequence[Head]) -> dict[str, str]:
    return {head.pattern: head.kind for head in heads if head.pattern != DATE_ORDER}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeadsDescription:
    """What a trained encoder knows besides its weights.

    ``left_out``: patterns without a head by choice. ``longest``: tokens of a stretch by span head. ``window``: tokens
    of a window. ``line_break``: the token between lines, if there is one. ``usual`` and ``spelling``: by field, as
    decoding uses them. ``unsigned``: as ``plan_heads``. ``glued``: as ``OutputDecoder``. ``kinds``: of the heads by
    field, as they were saved.
    """

    schema_sha256: str
    window: Annotated[_Tokens, Field(ge=8)]
    line_break: int | None = None
    left_out: tuple[str, ...] = ()
    longest: Mapping[str, _Tokens] = field(default_factory=dict)
    spelling: Mapping[str, Spelling] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    unsigned: tuple[str, ...] = ()
    glued: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    def heads(self, compiled: CompiledSchema) -> list[Head]:
        """The heads, in schema order.

        Raises:
            Refused: they were trained for another schema, or a length of a span head is missing.
        """
        heads = trained_heads(plan_heads(compiled, self.unsigned), self.left_out)
        if compiled.hash != self.schema_sha256:
            kinds = _kinds(heads)
            differing = [name for name in {**self.kinds, **kinds} if self.kinds.get(name) != kinds.get(name)]
            raise Refused(
                f"The heads of this model were trained for another version of the schema ({self.schema_sha256[:12]}), "
                f"not for {compiled.hash[:12]}. Fields with another head: {first_names(differing) or 'none'}.",
                code="schema",
            )
        if missing := {head.pattern for head in heads if head.kind == "span"} - set(self.longest):
            raise Refused(f"{DESCRIPTION} is not valid: longest has no {min(missing)}.", code="model")
        return heads

    def decoder(self, compiled: CompiledSchema) -> OutputDecoder:
        """Decodes the scores of the heads. Raises Refused as ``heads``."""
        return OutputDecoder(compiled, self.heads(compiled), self.spelling, self.usual, self.glued)

    def save(self, folder: Path, heads: Sequence[Head]) -> None:
        """Writes ``heads.json``. ``heads`` are listed in it for readers."""
        values = {
            "format": FORMAT,
            "schema_sha256": self.schema_sha256,
            "window": self.window,
            "line_break": self.line_break,
            "left_out": list(self.left_out),
            "heads": [{"field": name, "kind": kind} for name, kind in _kinds(heads).items()],
            "longest": dict(self.longest),
            "spelling": {pattern: spelling.state() for pattern, spelling in self.spelling.items()},
            "usual": dict(self.usual),
            "unsigned": list(self.unsigned),
            "glued": list(self.glued),
        }
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "HeadsDescription":
        """Reads ``heads.json``.

        Raises:
            Refused: there is none, so the model was not trained on a contract; or it is not valid.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            raise Refused("The encoder has no heads. Train it on a dataset first.", code="model")
        try:
            values: dict[str, Any] = loads(path.read_bytes(), max_characters=None)
            if values.pop("format") != FORMAT:
                raise ValueError("its format is unknown")
            values["kinds"] = {head["field"]: head["kind"] for head in values.pop("heads", [])}
            return build(cls, values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{DESCRIPTION} is not valid: {error}", code="model") from error
