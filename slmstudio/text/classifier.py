"""A text classifier that trains in seconds without a GPU: TF-IDF of words and characters, and logistic regression.

It ranks documents to label and labels to check. Pure; scikit-learn is
imported when a classifier is fitted, which takes a second, so pages never wait for it.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
#: characters of a text that are read
MAX_CHARACTERS = 20_000
_MAX_FEATURES = 30_000
#: the inverse of the strength of the L2 penalty
_C = 10.0
_MAX_ITERATIONS = 300


class TextVectors:
    """TF-IDF vectors of unit length, so that a product of two is their cosine similarity.

    ``characters``: of character n-grams instead of words, another view of the same text.
    """

    def __init__(self, texts: Iterable[str], *, characters: bool = False) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        grams = {"analyzer": "char_wb", "ngram_range": (2, 4)} if characters else {"ngram_range": (1, 2)}
        self._vectorizer = TfidfVectorizer(
            sublinear_tf=True, max_features=_MAX_FEATURES, strip_accents="unicode", **grams
        )
        self._vectorizer.fit(_shortened(texts))

    def of(self, texts: Iterable[str]) -> Any:
        """A sparse row per text."""
        return self._vectorizer.transform(_shortened(texts))


def _shortened(texts: Iterable[str]) -> Iterator[str]:
    # A text without any word still needs a feature.
    return (f"{text[:MAX_CHARACTERS]} ·text·" for text in texts)


class TextClassifier:
    """The class of a vector, with probabilities. With one class it is always that class."""

    def __init__(self, vectors: Any, labels: Sequence[str], *, seed: int = 17) -> None:
        self.classes: list[str] = sorted(set(labels))
        self._model: Any = None
        if len(self.classes) > 1:
            from sklearn.linear_model import LogisticRegression

            self._model = LogisticRegression(C=_C, max_iter=_MAX_ITERATIONS, random_state=seed)
            with warnings.catch_warnings():
                # Many classes with few texts each look like a regression to scikit-learn.
                warnings.simplefilter("ignore", UserWarning)
                self._model.fit(vectors, list(labels))

    def probabilities(self, vectors: Any) -> Matrix:
        """A row per vector, a column per class in the order of ``classes``; rows sum to 1."""
        if self._model is None:
            return np.ones((vectors.shape[0], 1))
        rows: Matrix = self._model.predict_proba(vectors)
        return rows


def out_of_fold(
    texts: Sequence[str], labels: Sequence[str], *, folds: int = 5, seed: int = 17, groups: Sequence[Any] = ()
) -> tuple[Matrix, list[str]]:
    """The probabilities of each text by a classifier that did not see it, and the classes of the columns.

    ``groups``: texts with an equal group are in the same fold, because one would give away the other's label. A class
    that only one fold has gets the probability 0 there.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    classes = sorted(set(labels))
    column = {name: at for at, name in enumerate(classes)}
    probabilities = np.zeros((len(texts), len(classes)))
    rows = np.arange(len(texts))
    number = min(folds, len(texts), len(set(groups)) if groups else len(texts))
    if number < 2:
        raise ValueError("Out-of-fold predictions need two texts of different groups.")
    if groups:
        parts = GroupKFold(number, shuffle=True, random_state=seed).split(rows, groups=list(groups))
    elif max(Counter(labels).values()) >= number:
        parts = StratifiedKFold(number, shuffle=True, random_state=seed).split(rows, list(labels))
    else:
        parts = GroupKFold(number, shuffle=True, random_state=seed).split(rows, groups=rows)
    with warnings.catch_warnings():
        # Classes with fewer texts than folds.
        warnings.simplefilter("ignore", UserWarning)
        divided = list(parts)
    for kept, left in divided:
        vectors = TextVectors(texts[at] for at in kept)
        model = TextClassifier(vectors.of(texts[at] for at in kept), [labels[at] for at in kept], seed=seed)
        places = [column[name] for name in model.classes]
        probabilities[np.ix_(left, places)] = model.probabilities(vectors.of(texts[at] for at in left))
    return probabilities, classes
