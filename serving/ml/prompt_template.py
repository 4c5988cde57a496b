"""The prompt of a package as text, for servers that render it themselves, such as Ollama.

A prompt is text before the document, the document, text after it. Such a server tokenizes that text itself, so the ids
of llama.cpp are compared with those of the package's own encoder before anything is written.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.ml.prompts import PromptBuilder
from serving.ml.engines.llama_cpp import LlamaCppEngine
from serving.packages.spec import PROMPT, SCHEMA, ServeSpec
from slmstudio.contract.json_text import dumps
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
        """The prompt of a document as a server makes it."""
        for token in self.special_tokens:
            document = document.replace(token, f"{token[0]} {token[1:]}")
        text = self.prefix + (document.strip() if self.strip else document) + self.suffix
        return [*self.first_tokens, text] if self.first_tokens else text


def prompt_template(builder: PromptBuilder) -> PromptTemplate | None:
    """The prompt of a package around its document; None where the chat template changes the document."""
    text = builder.text(_MARK)
    prefix, mark, suffix = text.partition(_MARK)
    padded = builder.text(f" \n{_MARK}\n ")
    strip = padded == text
    if not mark or _MARK in suffix or not (strip or padded == f"{prefix} \n{_MARK}\n {suffix}"):
        return None
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


async def write_template(
    folder: Path, spec: ServeSpec, builder: PromptBuilder, engine: LlamaCppEngine, texts: Iterable[str]
) -> None:
    """Writes prompt and schema into a package; nothing where another server would read another prompt than a replica:
    the chat template changes the document, or llama.cpp tokenizes the text differently from the package's encoder."""
    template = prompt_template(builder)
    if template is None:
        return
    specials = "x ".join(template.special_tokens)
    for text in (*texts, *TEXTS, f"Total {specials} 5"):
        if await engine.tokenize(template.content(text)) != builder.prompt(text):
            return
    prompt = json.dumps({"gguf": spec.gguf, **asdict(template)}, indent=2, ensure_ascii=False)
    (folder / PROMPT).write_text(f"{prompt}\n", encoding="utf-8")
    (folder / SCHEMA).write_text(dumps(builder.schema.schema) + "\n", encoding="utf-8")
