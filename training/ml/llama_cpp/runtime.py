"""llama.cpp beside the training side: the same token ids, and the same words at low temperature, on real documents.

llama.cpp (the package ``xllamacpp``) is what a model is served with in the end. Where it is not installed nothing is
compared, and whoever asks is told so.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from slmstudio.workers.hardware import allowed_cores

#: words that tokenizers disagree on: numbers, other scripts, emoji, white space, control tokens, JSON
TEXTS = (
    "Invoice 2026-0114 of Jan 14, 2026: total 1,248.50 (incl. 19 % VAT), due 14/02/2026.",
    "TAN CHAY YEE\nABC HO TRADING\nNO.2&4, TAMAN DESA HARMONI.\n81100 JOHOR BAHRU\nTOTAL :  RM 31.00\n***THANK YOU***",
    "Facture n° 12 — total à payer : 1 234,50 €, déjà réglé à l’échéance du 3 août.",
    "कुल राशि ₹५०० है, दिनांक १४ जनवरी २०२६; धन्यवाद।",
    "合計金額：１２３，４５６円（税込）",
    "paid 😀 👩‍👩‍👧 🇫🇷 ✅ thanks",
    " two  spaces,\ttabs\t\t and\n\n\nempty lines \n",
    '{"company": "A\\"B", "total": null, "lines": [1, 2.5e-3]}',
    "ﬁnal e\u0301 nbsp\u00a0here\u200d",
)
_PLACES = 4  # documents that are continued greedily
_SECONDS = 120.0  # for a request, and beside what an answer's tokens may take
_SECONDS_A_TOKEN = 2.0  # some billions of parameters at 16 bits, on few cores


@dataclass(frozen=True)
class Parity:
    """What came out of a comparison. ``same_first`` counts documents whose first greedy token agreed."""

    texts: int
    documents: int
    same_first: int
    same_tokens: int
    tokens: int

    @property
    def sentence(self) -> str:
        """One line for a report."""
        if not self.documents:
            return f"The token ids equal llama.cpp's on {self.texts} texts."
        return (
            f"The token ids equal llama.cpp's on {self.texts} texts; of {self.documents} documents continued greedily "
            f"{self.same_first} begin with the same token, and {self.same_tokens} of {self.tokens} tokens agree before "
            "the first difference (quantised weights round differently)."
        )


def installed() -> bool:
    """Whether llama.cpp is here."""
    return find_spec("xllamacpp") is not None


def answer_seconds(prompt: int, answer: int) -> float:
    """How long an answer may take, by its tokens and its prompt's: a large model on few cores is slow, not ill."""
    return _SECONDS + _SECONDS_A_TOKEN * (prompt + answer)


class Llama:
    """A running llama.cpp server of this process."""

    def __init__(self, address: str) -> None:
        #: where it listens, on this machine only
        self.address = address
        # never by way of the proxy that HTTP_PROXY names: it is this process, and documents are what it is asked about
        self._client = httpx.Client(base_url=address, timeout=_SECONDS, trust_env=False)

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text, without a beginning token; ``special``: control tokens in it are read as such."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return list(self._post("/tokenize", body)["tokens"])

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The ids of the next ``count`` tokens, always the likeliest; fewer where the model ends."""
        body = {
            "prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True,
            "cache_prompt": False, "seed": 1,
        }  # fmt: skip
        return list(self._post("/completion", body)["tokens"])

    def prompt_of(self, messages: Sequence[Any]) -> str:
        """The text that the file's own chat template makes of some turns, up to where the model is to write."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a prompt as the server reads one: control tokens as such, and a beginning token if it is due."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def answer(self, ids: Sequence[int], count: int) -> tuple[str, list[int]]:
        """Text and ids of a greedy answer of at most ``count`` tokens, the one that ended it left out.

        Raises:
            httpx.TimeoutException: it takes longer than ``answer_seconds``.
        """
        body = {
            "prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True,
            "cache_prompt": True, "seed": 1,
        }  # fmt: skip
        said = self._post("/completion", body, answer_seconds(len(ids), count))
        return str(said["content"]), list(said["tokens"])

    def complete(self, ids: Sequence[int], count: int, *, seconds: float, **more: Any) -> dict[str, Any]:
        """What the server says about a greedy answer of at most ``count`` tokens, as it says it; see its README.

        ``more``: further fields of the request, such as ``grammar``. May be called from several threads.

        Raises:
            httpx.HTTPError: it refuses, or has not answered within ``seconds``.
        """
        body = {
            "prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True,
            "cache_prompt": True, "seed": 1, **more,
        }  # fmt: skip
        return self._post("/completion", body, seconds)

    def _post(self, path: str, body: dict[str, Any], seconds: float = _SECONDS) -> dict[str, Any]:
        answer = self._client.post(path, json=body, timeout=seconds)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def running(gguf: Path, *, context: int = 4096, at_once: int = 1) -> Iterator[Llama]:
    """A llama.cpp of this process with the model loaded. Only for files that ``check_file`` has passed.

    ``context`` is that of one answer, ``at_once`` how many are worked on side by side.

    llama.cpp writes its log to standard output, where a child's events go: it is sent to standard error meanwhile.
    """
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path, wanted.hostnames, wanted.port = str(gguf), ["127.0.0.1"], 0
    wanted.n_ctx, wanted.n_parallel, wanted.warmup = context * at_once, at_once, False
    wanted.cpuparams.n_threads = len(allowed_cores())
    with _log_aside():
        server = xllamacpp.Server(wanted)
        try:
            yield Llama(server.listening_address)
        finally:
            del server


@contextmanager
def _log_aside() -> Iterator[None]:
    """What C code writes to standard output goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def first_difference(tokenizer: Any, llama: Llama, texts: Sequence[str]) -> str:
    """A sentence about the first text whose ids differ; empty where all are equal."""
    for text in texts:
        ours = tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = llama.tokenize(text)
        if ours != theirs:
            return (
                f"Token ids differ from llama.cpp's: the text {json.dumps(text[:60], ensure_ascii=False)} has "
                f"{len(ours)} tokens here and {len(theirs)} there."
            )
    return ""


def compare(gguf: Path, tokenizer: Any, model: Any | None, texts: Sequence[str] = TEXTS, count: int = 12) -> Parity:
    """Holds a tokenizer, and a model where one is given, against llama.cpp on the same GGUF file.

    Raises:
        ValueError: token ids differ, or the model says something else altogether; the message is a sentence.
    """
    with running(gguf) as llama:
        wrong = first_difference(tokenizer, llama, texts)
        if wrong:
            raise ValueError(wrong)
        if model is None:
            return Parity(len(texts), 0, 0, 0, 0)
        firsts = sames = total = 0
        documents = texts[:_PLACES]
        for text in documents:
            ids = _with_beginning(tokenizer, text)
            ours, theirs = _greedy(model, ids, count), llama.greedy(ids, count)
            same = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
            same = min(len(ours), len(theirs)) if same is None else same
            firsts, sames, total = firsts + (same > 0), sames + same, total + min(len(ours), len(theirs))
    if firsts * 2 <= len(documents):
        raise ValueError(
            f"The weights do not say what llama.cpp says with the same file: {firsts} of {len(documents)} documents "
            "are continued by the same token."
        )
    return Parity(len(texts), len(documents), firsts, sames, total)


def _with_beginning(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def _greedy(model: Any, ids: list[int], count: int) -> list[int]:
    import torch

    with torch.no_grad(), contextlib.suppress(RuntimeError):
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0, temperature=None, top_p=None,
            top_k=None,
        )  # fmt: skip
        return list(out[0, len(ids) :].tolist())
    return []
