"""llama.cpp in this process (package ``xllamacpp``), and the comparison of a base model with it.

Token ids must be equal, and greedy outputs must start with the same tokens. Without the package nothing is compared.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from slmstudio.workers.hardware import allowed_cores

#: texts on which tokenizers differ: numbers, scripts, emoji, whitespace, control tokens, JSON
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
COMPARED_DOCUMENTS = 4  # documents that are generated greedily
REQUEST_SECONDS = 120.0  # per request, plus the time per token
SECONDS_PER_TOKEN = 2.0  # for billions of parameters in 16 bits on few cores


def installed() -> bool:
    """Whether llama.cpp is installed."""
    return find_spec("xllamacpp") is not None


def answer_seconds(prompt: int, answer: int) -> float:
    """The timeout of a request by its tokens: a large model on few cores is slow, not broken."""
    return REQUEST_SECONDS + SECONDS_PER_TOKEN * (prompt + answer)


class Llama:
    """A running llama.cpp server of this process."""

    def __init__(self, address: str) -> None:
        #: its URL, on this machine only
        self.address = address
        # never through a proxy: the server is in this process, and the requests contain documents
        self._client = httpx.Client(base_url=address, timeout=REQUEST_SECONDS, trust_env=False)

    def tokenize(self, text: str, *, start: bool = False) -> list[int]:
        """Token ids of a text, control tokens in it included; ``start``: with a start token where a prompt has one."""
        body = {"content": text, "add_special": start, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def prompt_of(self, messages: Sequence[Any]) -> str:
        """The prompt by the file's chat template, up to the output of the model."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def complete(self, ids: Sequence[int], count: int, *, seconds: float, **more: Any) -> dict[str, Any]:
        """The server's response for a greedy output of at most ``count`` tokens; see its README.

        ``more``: further fields of the request, such as ``grammar``. May be called from several threads.

        Raises:
            httpx.HTTPError: it refuses, or has not answered within ``seconds``.
        """
        body = {
            "prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True,
            "cache_prompt": True, "seed": 1, **more,
        }  # fmt: skip
        return self._post("/completion", body, seconds)

    def _post(self, path: str, body: dict[str, Any], seconds: float = REQUEST_SECONDS) -> dict[str, Any]:
        response = self._client.post(path, json=body, timeout=seconds)
        response.raise_for_status()
        values: dict[str, Any] = response.json()
        return values


@contextmanager
def running(gguf: Path, *, context: int = 4096, parallel: int = 1) -> Iterator[Llama]:
    """A llama.cpp server of this process with the model loaded. Only for files that ``check_file`` accepted.

    ``context``: tokens of one request; ``parallel``: concurrent requests. Its log, which goes to standard output, is
    redirected to standard error.
    """
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.hostnames, parameters.port = str(gguf), ["127.0.0.1"], 0
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = context * parallel, parallel, False
    parameters.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS") or len(allowed_cores()))
    with stdout_to_stderr():
        server = xllamacpp.Server(parameters)
        try:
            yield Llama(server.listening_address)
        finally:
            del server


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirects standard output of C code to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def first_difference(tokenizer: Any, llama: Llama, texts: Sequence[str]) -> str:
    """A message about the first text whose ids differ; empty where all are equal."""
    for text in texts:
        ours = tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = llama.tokenize(text)
        if ours != theirs:
            return (
                f"Token IDs differ from llama.cpp's: the text {json.dumps(text[:60], ensure_ascii=False)} has "
                f"{len(ours)} tokens here and {len(theirs)} there."
            )
    return ""


def compare(gguf: Path, tokenizer: Any, model: Any | None, texts: Sequence[str] = TEXTS, count: int = 12) -> str:
    """Compares a tokenizer, and a model where one is given, with llama.cpp on the same GGUF file; returns a sentence.

    Raises:
        ValueError: token ids or most first tokens differ; the message is for users.
    """
    equal = f"The token IDs equal llama.cpp's on {len(texts)} texts"
    with running(gguf) as llama:
        difference = first_difference(tokenizer, llama, texts)
        if difference:
            raise ValueError(difference)
        if model is None:
            return f"{equal}."
        firsts = sames = total = 0
        documents = texts[:COMPARED_DOCUMENTS]
        for text in documents:
            ids = list(tokenizer(text)["input_ids"])
            response = llama.complete(ids, count, seconds=REQUEST_SECONDS, cache_prompt=False)
            ours, theirs = _greedy(model, ids, count), list(response["tokens"])
            same = shared_tokens(ours, theirs)
            firsts, sames, total = firsts + (same > 0), sames + same, total + min(len(ours), len(theirs))
    if firsts * 2 <= len(documents):
        raise ValueError(
            f"The outputs differ from llama.cpp's with the same file: {firsts} of {len(documents)} documents have the "
            "same first token."
        )
    return (
        f"{equal}; of {len(documents)} documents continued greedily, {firsts} begin with the same token, and {sames} "
        f"of {total} tokens agree before the first difference (quantized weights round differently)."
    )


def shared_tokens(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """Equal tokens, or characters, before the first difference."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(ours), len(theirs)))


def _greedy(model: Any, ids: list[int], count: int) -> list[int]:
    import torch

    with torch.no_grad(), contextlib.suppress(RuntimeError):
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0, temperature=None, top_p=None,
            top_k=None,
        )  # fmt: skip
        return list(out[0, len(ids) :].tolist())
    return []
