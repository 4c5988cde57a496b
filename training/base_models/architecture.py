"""The shape of a language model, its widths and layers as ``config.json`` names them, and what follows. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
}


class NoShape(ValueError):
    """A configuration or a stored shape lacks what estimates need; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder of llama's kind: attention with grouped keys and values, a gated MLP, one embedding.

    ``tied``: the head is the embedding. ``parameters`` counts it once then. ``context`` is in tokens, 0 where the
    configuration does not say. ``window``: tokens that a layer with a sliding window looks back, None without one.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    parameters: int
    context: int
    window: int | None = None

    @property
    def attention_width(self) -> int:
        """Numbers that the queries of a token have in one layer."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers that keys (and as many that values) of a token have in one layer."""
        return self.kv_heads * self.head_dim

    @property
    def linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the seven matrices of one layer, which adapters sit on."""
        hidden, queries, keys, inner = self.hidden, self.attention_width, self.kv_width, self.intermediate
        return (
            (hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden),
            (hidden, inner), (hidden, inner), (inner, hidden),
        )  # fmt: skip

    @property
    def embedding(self) -> int:
        """Parameters of the embedding (and of the head, where it is not tied)."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def body(self) -> int:
        """Parameters of the layers alone: what every token is multiplied with."""
        return max(0, self.parameters - self.embedding)

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of a LoRA adapter of this rank on every matrix of every layer (arXiv:2106.09685)."""
        return rank * self.layers * sum(inputs + outputs for inputs, outputs in self.linear_sizes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON column."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Shape":
        """The shape that ``as_dict`` gave.

        Raises:
            NoShape: a value is missing or no whole number; an empty dict names nothing, so the model has no shape yet.
        """
        numbers = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocabulary", "parameters")
        for name in numbers:
            if not isinstance(values.get(name), int) or isinstance(values[name], bool) or values[name] < 1:
                raise NoShape(f"The shape of the model has no {name}.")
        window = values.get("window")
        return cls(
            **{name: values[name] for name in numbers},
            tied=bool(values.get("tied")),
            context=int(values.get("context") or 0),
            window=int(window) if window else None,
        )

    @classmethod
    def from_config(cls, config: dict[str, Any], parameters: int = 0) -> "Shape":
        """The shape that a ``config.json`` describes; ``parameters`` where they were counted, else they are derived.

        Raises:
            NoShape: the configuration does not name its layers and widths in the usual words.
        """
        inner = config.get("text_config")
        text = {**config, **inner} if isinstance(inner, dict) else config
        found = {name: _whole(text, key) for name, key in _KEYS.items()}
        heads = found["heads"]
        head_dim = _or_none(text, "head_dim") or max(1, found["hidden"] // heads)
        tied = bool(text.get("tie_word_embeddings", True))
        shape = cls(
            **found,
            kv_heads=_or_none(text, "num_key_value_heads") or heads,
            head_dim=head_dim,
            tied=tied,
            parameters=1,
            context=_or_none(text, "max_position_embeddings") or 0,
            window=_window(text),
        )
        return cls(**{**shape.as_dict(), "parameters": parameters or shape.derived_parameters()})

    def derived_parameters(self) -> int:
        """Parameters as they follow from the widths: matrices, embedding, two norms a layer and one at the end."""
        matrices = sum(inputs * outputs for inputs, outputs in self.linear_sizes)
        return self.embedding + self.layers * (matrices + 2 * self.hidden) + self.hidden


def _whole(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise NoShape(f"config.json does not say its {key}.")
    return value


def _or_none(config: dict[str, Any], key: str) -> int | None:
    try:
        return _whole(config, key)
    except NoShape:
        return None


def _window(config: dict[str, Any]) -> int | None:
    return None if config.get("use_sliding_window") is False else _or_none(config, "sliding_window")
