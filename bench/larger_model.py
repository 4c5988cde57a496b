"""A stand-in for a large external model: ``python -m bench.larger_model PORT ROWS.jsonl``.

A logistic regression on n-grams, fitted on labeled rows ``{"text", "gold": {FIELD: CLASS}}``, that answers
``POST /v1/chat/completions`` with the object of the class and its probability. It is a real model behind a real server,
and not a large one: what it shows is the way of a request, not what a large model knows. Tokens are counted as four
characters each.
"""

import json
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags_array
from scipy.special import softmax

#: columns that n-grams are hashed to
COLUMNS = 2**15
_PENALTY = 2e-5
_CHARACTERS_PER_TOKEN = 4


def n_grams(text: str) -> Iterator[str]:
    """Words, pairs of words, and three to five characters of each word."""
    words = text.lower().split()
    yield from words
    yield from (f"{one} {other}" for one, other in pairwise(words))
    for word in words:
        padded = f"<{word}>"
        for size in (3, 4, 5):
            yield from (padded[at : at + size] for at in range(len(padded) - size + 1))


def counts(texts: Sequence[str]) -> csr_matrix:
    """The logarithm of the number of each n-gram, by text."""
    places = [0]
    columns: list[int] = []
    values: list[float] = []
    for text in texts:
        found: dict[int, int] = {}
        for one in n_grams(text):
            column = zlib.crc32(one.encode()) % COLUMNS
            found[column] = found.get(column, 0) + 1
        columns += found
        values += [1 + math.log(number) for number in found.values()]
        places.append(len(columns))
    return csr_matrix((values, columns, places), shape=(len(texts), COLUMNS))


class Classifier:
    """The fitted model of one field."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        [self.field] = rows[0]["gold"]
        self.classes = sorted({row["gold"][self.field] for row in rows})
        found = counts([row["text"] for row in rows])
        self._weight = diags_array(np.log((1 + len(rows)) / (1 + np.bincount(found.indices, minlength=COLUMNS))) + 1)
        known, gold = self._normed(found), np.array([self.classes.index(row["gold"][self.field]) for row in rows])
        shape, target = (COLUMNS, len(self.classes)), np.eye(len(self.classes))[gold]

        def loss(flat: Any) -> tuple[float, Any]:
            weights = flat.reshape(shape)
            likely = softmax(known @ weights, axis=1)
            value = -np.log(likely[np.arange(len(gold)), gold] + 1e-12).mean() + _PENALTY / 2 * (weights**2).sum()
            return value, (known.T @ (likely - target) / len(gold) + _PENALTY * weights).ravel()

        start = np.zeros(COLUMNS * len(self.classes))
        self._fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x.reshape(shape)

    def _normed(self, found: csr_matrix) -> Any:
        weighted = found @ self._weight
        length = np.sqrt(weighted.multiply(weighted).sum(axis=1))
        return diags_array(1 / np.maximum(np.asarray(length).ravel(), 1e-9)) @ weighted

    def answer(self, text: str) -> tuple[str, float]:
        """The most probable class, and its probability."""
        likely = softmax((self._normed(counts([text])) @ self._fitted)[0])
        return self.classes[int(likely.argmax())], float(likely.max())


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    classifier: Classifier

    def do_POST(self) -> None:
        """Classifies the last user message."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        messages = body["messages"]
        found, probability = self.classifier.answer(messages[-1]["content"])
        content = json.dumps({self.classifier.field: found})
        sent, written = (
            -(-sum(map(len, one)) // _CHARACTERS_PER_TOKEN) for one in ([m["content"] for m in messages], [content])
        )
        answer = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": "stop", "logprobs": None,
            }],
            "usage": {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written},
            "probability": probability,
        }  # fmt: skip
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Nothing on standard error."""


def main() -> None:
    """Fits the model and answers until the process is stopped."""
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    Handler.classifier = Classifier([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
