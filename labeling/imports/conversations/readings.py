"""What a file of exchanges was read as."""

from dataclasses import dataclass, field
from typing import Final

from labeling.imports.conversations.exchanges import Exchange
from labeling.imports.conversations.shapes import Shape
from labeling.imports.conversations.shared_prompt import SharedPrompt

#: exchanges from which the shared prompt and a contract are derived
SAMPLE: Final = 200
#: of their texts
SAMPLE_CHARACTERS: Final = 4_000_000


@dataclass
class Reading:
    """The shape of a file, what its prompts share, and its first exchanges. ``function``: which its answers call."""

    shape: Shape
    shared: SharedPrompt = field(default_factory=SharedPrompt)
    exchanges: list[Exchange] = field(default_factory=list)
    characters: int = 0
    function: str = ""

    def note(self, exchange: Exchange) -> None:
        """Keeps one of the first exchanges."""
        if len(self.exchanges) < SAMPLE and self.characters < SAMPLE_CHARACTERS:
            self.exchanges.append(exchange)
            self.characters += len(exchange.text)
