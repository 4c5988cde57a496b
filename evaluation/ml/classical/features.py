"""Features of texts: TF-IDF of words and characters, or sentence embeddings."""

import io
import json
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from evaluation.inference.classical_spec import EMBEDDINGS_INSTALL, EMBEDDINGS_MODULE, EMBEDDINGS_PACKAGE
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file

Matrix = Any
#: what is stored of features: JSON, and arrays by name
State = tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]

#: words and pairs of words; characters within words, which survive typos and inflection
_ANALYZERS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
}
#: terms that are kept of each analyzer, the most frequent ones
_MAX_TERMS = 50_000
#: the length that the model was trained for, in its ``sentence_bert_config.json``
_MAX_TOKENS = 256
_BATCH = 32


class Features(Protocol):
    """Texts as vectors. ``regularization``: C of the logistic regression that fits them."""

    regularization: float

    def fit(self, texts: Sequence[str]) -> Matrix:
        """Learns from the training texts; returns their vectors."""

    def transform(self, texts: Sequence[str]) -> Matrix:
        """The vectors of texts."""

    def state(self) -> State:
        """What ``load_features`` needs."""


class TfidfFeatures:
    """TF-IDF with sublinear term frequency, of words and of characters."""

    regularization = 10.0

    def __init__(self, vocabulary: dict[str, list[str]] | None = None, idf: Any = None) -> None:
        self._vectorizers = {}
        for name, settings in _ANALYZERS.items():
            known = {"vocabulary": vocabulary[name]} if vocabulary is not None else {"max_features": _MAX_TERMS}
            self._vectorizers[name] = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **settings, **known)
            if idf is not None:
                self._vectorizers[name].idf_ = idf[f"idf.{name}"]

    def fit(self, texts: Sequence[str]) -> Matrix:
        """As in Features. Raises Refused where the texts have no words."""
        try:
            parts = [vectorizer.fit_transform(texts) for vectorizer in self._vectorizers.values()]
        except ValueError as error:  # an empty vocabulary
            raise Refused("The training documents contain no words.", code="dataset") from error
        return sparse.hstack(parts, format="csr")

    def transform(self, texts: Sequence[str]) -> Matrix:
        """As in Features."""
        return sparse.hstack([vectorizer.transform(texts) for vectorizer in self._vectorizers.values()], format="csr")

    def state(self) -> State:
        """As in Features."""
        terms = {
            name: list(map(str, vectorizer.get_feature_names_out())) for name, vectorizer in self._vectorizers.items()
        }
        arrays = {
            f"idf.{name}": np.asarray(vectorizer.idf_, np.float32) for name, vectorizer in self._vectorizers.items()
        }
        return {"features": "tfidf", "vocabulary": terms}, arrays


class EmbeddingFeatures:
    """Normalized mean of the token vectors of all-MiniLM-L6-v2, whose weights are those of an installed package.

    A text longer than 256 tokens is represented by its beginning.
    """

    regularization = 10.0

    def __init__(self, sha256: str = "") -> None:
        """``sha256``: of the file of the weights that the classifier was trained with; empty: not checked.

        Raises:
            Refused: the package is not installed, or has other weights.
        """
        import torch
        from safetensors.torch import load
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        path = embeddings_file()
        self._sha256 = sha256_file(path)
        if sha256 and self._sha256 != sha256:
            raise Refused(f"{EMBEDDINGS_PACKAGE} has different weights from those used in training.", code="model")
        with zipfile.ZipFile(path) as file:
            config = BertConfig.from_dict(json.load(io.BytesIO(file.read("config.json"))))
            self._tokenizer = Tokenizer.from_str(file.read("tokenizer.json").decode())
            self._model = BertModel(config, add_pooling_layer=False)
            weights = load(file.read("model.safetensors"))
        self._model.load_state_dict({name: weights[name] for name in self._model.state_dict() if name in weights})
        self._model.eval()
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._torch = torch

    def fit(self, texts: Sequence[str]) -> Matrix:
        """As in Features."""
        return self.transform(texts)

    def transform(self, texts: Sequence[str]) -> Matrix:
        """As in Features; texts of similar length together, because batches are padded."""
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        vectors = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        with self._torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                places = order[start : start + _BATCH]
                vectors[places] = self._batch([texts[at] for at in places])
        return vectors

    def _batch(self, texts: Sequence[str]) -> Any:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = self._torch.tensor([encoding.ids for encoding in encoded])
        mask = self._torch.tensor([encoding.attention_mask for encoding in encoded])
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1)
        return self._torch.nn.functional.normalize(mean, dim=1).numpy()

    def state(self) -> State:
        """As in Features; the weights stay in their package."""
        return {"features": "embeddings", "package": EMBEDDINGS_PACKAGE, "sha256": self._sha256}, {}


def embeddings_file() -> Path:
    """The archive with the weights. Raises Refused where the package is not installed."""
    module = find_spec(EMBEDDINGS_MODULE)
    path = Path(module.origin).parent / "model.zip" if module is not None and module.origin else None
    if path is None or not path.is_file():
        raise Refused(
            f"The weights of the sentence embeddings are not installed. Install them with `{EMBEDDINGS_INSTALL}`.",
            code="embeddings",
        )
    return path


def new_features(kind: str) -> Features:
    """Features to train a model of a kind with."""
    return EmbeddingFeatures() if kind == "embeddings" else TfidfFeatures()


def load_features(values: dict[str, Any], arrays: dict[str, Any]) -> Features:
    """The features of a stored model."""
    if values["features"] == "embeddings":
        return EmbeddingFeatures(values["sha256"])
    return TfidfFeatures(values["vocabulary"], arrays)
