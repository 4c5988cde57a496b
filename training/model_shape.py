"""The shape and the family of a language model from ``config.json``, and its parameter counts. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
}
#: ``model_type`` of the encoders of text; each has a fast tokenizer with offsets
ENCODERS = frozenset(
    {"albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta",
     "xlm-roberta"}
)  # fmt: skip
#: those whose positions begin after that of padding
_SHIFTED_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")


def is_encoder(config: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is that of an encoder of text."""
    return config.get("model_type") in ENCODERS and not config.get("is_decoder")


def context_of(config: dict[str, Any]) -> int | None:
    """Tokens that the model of a ``config.json`` reads at most; None where it does not say."""
    positions = _or_none(config, "max_position_embeddings")
    if positions is None or config.get("model_type") not in _SHIFTED_POSITIONS:
        return positions
    return positions - int(config.get("pad_token_id", 1)) - 1


class UnknownModelShape(ValueError):
    """A configuration or stored shape lacks a value that estimates need; the message names it."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder like llama, or an encoder like BERT: grouped-query attention, an MLP, one embedding.

    ``tied``: head and embedding share weights, which ``parameters`` counts once. ``context`` is in tokens, 0 where
    unknown. ``window``: tokens of a sliding attention window, None without one. ``gated``: the MLP has a gate, a third
    matrix.
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
    encoder: bool = False
    gated: bool = True

    @property
    def attention_width(self) -> int:
        """Width of the queries of a token in one layer."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys (and of the values) of a token in one layer."""
        return self.kv_heads * self.head_dim

    @property
    def linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear layers of one block, which adapters are added to."""
        hidden, queries, keys, inner = self.hidden, self.attention_width, self.kv_width, self.intermediate
        return (
            (hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden),
            *[(hidden, inner)] * (1 + self.gated), (inner, hidden),
        )  # fmt: skip

    @property
    def embedding(self) -> int:
        """Parameters of the embedding (and of the head, where it is not tied)."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def body(self) -> int:
        """Parameters of the layers, without embedding and head."""
        return max(0, self.parameters - self.embedding)

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of a LoRA adapter of this rank on every matrix of every layer (arXiv:2106.09685)."""
        return rank * self.layers * sum(inputs + outputs for inputs, outputs in self.linear_sizes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON column."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelShape":
        """The shape that ``as_dict`` gave.

        Raises:
            UnknownModelShape: a value is missing or not a positive integer; an empty dict is a model without a shape.
        """
        numbers = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocabulary", "parameters")
        for name in numbers:
            if not isinstance(values.get(name), int) or isinstance(values[name], bool) or values[name] < 1:
                raise UnknownModelShape(f"The shape of the model has no {name}.")
        window = values.get("window")
        return cls(
            **{name: values[name] for name in numbers},
            tied=bool(values.get("tied")),
            context=int(values.get("context") or 0),
            window=int(window) if window else None,
            encoder=bool(values.get("encoder")),
            gated=bool(values.get("gated", True)),
        )

    @classmethod
    def from_config(cls, config: dict[str, Any], parameters: int = 0) -> "ModelShape":
        """The shape of a ``config.json``; ``parameters`` as counted, derived from the widths if 0.

        Raises:
            UnknownModelShape: the configuration has no layers or widths under their usual names, or its layers are of
                another kind.
        """
        if config.get("model_type") in ("albert", "deberta-v2"):
            raise UnknownModelShape("The layers of the model share weights, or have an attention of their own.")
        inner = config.get("text_config")
        text = {**config, **inner} if isinstance(inner, dict) else config
        sizes = {name: _whole(text, key) for name, key in _KEYS.items()}
        heads = sizes["heads"]
        head_dim = _or_none(text, "head_dim") or max(1, sizes["hidden"] // heads)
        tied = bool(text.get("tie_word_embeddings", True))
        shape = cls(
            **sizes,
            kv_heads=_or_none(text, "num_key_value_heads") or heads,
            head_dim=head_dim,
            tied=tied,
            parameters=1,
            context=context_of(text) or 0,
            window=_window(text),
            encoder=is_encoder(config),
            gated=not is_encoder(config) or config.get("model_type") == "modernbert",
        )
        return cls(**{**shape.as_dict(), "parameters": parameters or shape.derived_parameters()})

    def derived_parameters(self) -> int:
        """Parameters derived from the widths: linear layers, embedding, two norms per layer and a final one."""
        matrices = sum(inputs * outputs for inputs, outputs in self.linear_sizes)
        return self.embedding + self.layers * (matrices + 2 * self.hidden) + self.hidden


def _whole(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnknownModelShape(f"config.json has no valid {key}.")
    return value


def _or_none(config: dict[str, Any], key: str) -> int | None:
    try:
        return _whole(config, key)
    except UnknownModelShape:
        return None


def _window(config: dict[str, Any]) -> int | None:
    return None if config.get("use_sliding_window") is False else _or_none(config, "sliding_window")
