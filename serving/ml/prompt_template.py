"""The files of a llama.cpp package that ``extract.py`` answers with, without the studio and without its tokenizer.

A prompt is text before the document, the document, text after it. llama.cpp tokenizes that text itself, so its ids are
compared with those of the package's own encoder before anything is written.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.ml.engines.llama_cpp import DEFAULT_CONTEXT, LlamaCppEngine
from serving.packages import extract
from serving.packages.spec import GRAMMAR, PROMPT, SCHEMA, SCRIPT, ServeSpec
from slmstudio.contract.decoding.grounded_grammar import grammar_of
from slmstudio.contract.decoding.grounding import GroundingPlan
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.structure import split
from slmstudio.errors import Refused
from training.ml.llama_cpp.runtime import TEXTS

#: stands for the document when a prompt is rendered
_MARK = "7c1d90ef"


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt as text. ``strip``: the chat template trims the document.

    ``first_tokens``: ids before the text; ``first_text``: what they stand for where the chat template writes it.
    ``special_tokens``: escaped in documents, in this order; see ``training.prompts.escape_special_tokens``.
    """

    first_tokens: tuple[int, ...]
    prefix: str
    suffix: str
    strip: bool
    special_tokens: tuple[str, ...]
    first_text: str = ""

    def content(self, document: str) -> str | list[int | str]:
        """The prompt of a document as ``extract.py`` sends it."""
        for token in self.special_tokens:
            document = document.replace(token, f"{token[0]} {token[1:]}")
        text = self.prefix + (document.strip() if self.strip else document) + self.suffix
        return [*self.first_tokens, text] if self.first_tokens else text


def prompt_template(builder: PromptBuilder) -> PromptTemplate:
    """The prompt of a package around its document.

    Raises:
        Refused: (code ``template``) the chat template changes the document.
    """
    text = builder.text(_MARK)
    prefix, found, suffix = text.partition(_MARK)
    padded = builder.text(f" \n{_MARK}\n ")
    strip = padded == text
    if not found or _MARK in suffix or not (strip or padded == f"{prefix} \n{_MARK}\n {suffix}"):
        raise Refused("The chat template does not contain the document unchanged.", code="template")
    specials = {token: None for token in builder.encoder.special_tokens if len(token) > 1}
    ordered = tuple(sorted(specials, key=len, reverse=True))
    first: tuple[int, ...] = ()
    start = ""
    ids = builder.prompt(_MARK)
    # As an id, because llama.cpp may add the start token by itself in front of a text.
    if builder.encoder.adds_bos:
        first = (ids[0],)
    else:
        start = next((token for token in ordered if prefix.startswith(token)), "")
        if start and builder.encoder.tokenizer.convert_tokens_to_ids(start) == ids[0]:
            first, prefix = (ids[0],), prefix.removeprefix(start)
    return PromptTemplate(first, prefix, suffix, strip, ordered, start if first else "")


async def write_offline_files(
    folder: Path, spec: ServeSpec, builder: PromptBuilder, engine: LlamaCppEngine, texts: Iterable[str]
) -> PromptTemplate:
    """Writes script, prompt, schema and grammar into a package.

    Raises:
        Refused: (code ``template``, ``tokens``) llama.cpp reads another prompt than the package's encoder.
    """
    template = prompt_template(builder)
    specials = "x ".join(template.special_tokens)
    for text in (*texts, *TEXTS, f"Total {specials} 5"):
        if await engine.tokenize(template.content(text)) != builder.prompt(text):
            raise Refused("llama.cpp tokenizes the prompt differently from the model's tokenizer.", code="tokens")
    _write(folder / PROMPT, {"version": 1, **_limits(spec), **asdict(template), "grounded": _grounded(builder.ground)})
    (folder / SCHEMA).write_text(dumps(builder.schema.schema) + "\n", encoding="utf-8")
    if spec.mode != "free":
        (folder / GRAMMAR).write_text(grammar_of(builder.schema, GroundingPlan(), ""), encoding="utf-8")
    shutil.copyfile(extract.__file__, folder / SCRIPT)
    return template


def _limits(spec: ServeSpec) -> dict[str, Any]:
    return {
        "gguf": spec.gguf,
        "context": spec.context or DEFAULT_CONTEXT,
        "max_output_tokens": spec.output_tokens.maximum,
        "reserved_output_tokens": spec.output_tokens.reserved,
    }


def _grounded(ground: GroundingPlan | None) -> list[dict[str, Any]]:
    """Fields whose values must be in the document, or known."""
    if ground is None:
        return []
    return [
        {"pattern": one, "steps": split(one), "separators": list(joins), "known": list(ground.known.get(one, ()))}
        for one, joins in ground.held.items()
    ]


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
