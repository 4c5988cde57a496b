"""What the prompts of a file share: the system prompt, and the fixed text around the documents."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from labeling.imports.conversations.exchanges import Exchange

#: fewer different prompts can be alike by chance
MIN_PROMPTS: Final = 3
#: characters: a shorter beginning or end can be a part of the documents
MIN_PREFIX, MIN_SUFFIX = 20, 6
_BEGINNING = re.compile(r".*(?:\n|[.:!?>\"]{1,3}[ \t]+)", re.DOTALL)
_END = re.compile(r"\n.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """The most frequent system prompt, and the text before and after each document ("" if there is none)."""

    system: str = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def instruction(self) -> str:
        """All of it, as the instruction of a contract."""
        return "\n\n".join(filter(None, (part.strip() for part in (self.system, self.prefix, self.suffix))))

    def document(self, text: str) -> str:
        """A prompt without the fixed text; the prompt itself if it lacks it."""
        if len(text) <= len(self.prefix) + len(self.suffix):
            return text
        if not (text.startswith(self.prefix) and text.endswith(self.suffix)):
            return text
        return text[len(self.prefix) : len(text) - len(self.suffix)].strip("\n") or text


def shared_prompt(exchanges: Sequence[Exchange]) -> SharedPrompt:
    """What the exchanges share. A fixed text ends at the end of a line or sentence, and all prompts have it."""
    systems = Counter(exchange.system for exchange in exchanges if exchange.system)
    system = systems.most_common(1)[0][0] if systems else ""
    prompts = list(dict.fromkeys(exchange.text for exchange in exchanges if exchange.is_single))
    if len(prompts) < MIN_PROMPTS:
        return SharedPrompt(system)
    common = _common_beginning(prompts)
    beginning = _BEGINNING.match(common)
    prefix = beginning[0] if beginning and len(beginning[0].strip()) >= MIN_PREFIX else ""
    rest = [prompt[len(prefix) :][::-1] for prompt in prompts]
    end = _END.search(_common_beginning(rest)[::-1])
    suffix = end[0] if end and _is_suffix(end[0].strip()) else ""
    if any(len(prompt) <= len(prefix) + len(suffix) for prompt in prompts):
        return SharedPrompt(system)
    return SharedPrompt(system, prefix, suffix)


def _is_suffix(text: str) -> bool:
    """Whether a common end is no part of the documents: it is long, or a separator of symbols such as ``###``."""
    return len(text) >= MIN_SUFFIX or (bool(text) and not any(map(str.isalnum, text)))


def _common_beginning(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
