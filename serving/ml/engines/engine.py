"""The protocol of an engine: the model of a package, loaded, answering one document at a time or several."""

from typing import Protocol, runtime_checkable

from serving.replicas.protocol import ModelOutput


class Engine(Protocol):
    """A loaded model. ``answer`` may be called concurrently; a cancelled call stops the generation where it can."""

    async def start(self) -> None:
        """Loads the model. Raises Refused."""

    async def answer(self, text: str) -> ModelOutput:
        """The output for one document. Never raises but CancelledError."""

    async def metrics(self) -> str:
        """Metrics of the engine itself in the text format of Prometheus; "" where it has none."""

    async def close(self) -> None:
        """Frees the model."""

    @property
    def version(self) -> str:
        """Name and version of the package that runs the model."""


@runtime_checkable
class DecodingEngine(Engine, Protocol):
    """An engine of a language model, whose outputs are decoded under a schema."""

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        """The greedy continuation of a prompt under a JSON Schema, for the probe of enforcement."""
