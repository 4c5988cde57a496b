"""Packages in the browser: the outputs of the engines, without a server and without a network."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from serving.engines import PROMPT
from serving.ml.engines.llama_cpp import LlamaCppEngine
from serving.ml.pack import prompt_template
from serving.packages.edge.bundle import write_bundle
from serving.packages.spec import FILE, OutputTokens, ServeSpec
from slmstudio.contract.decoding.gbnf import gbnf
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import compile_schema
from tests.browser.conftest import Watch
from tests.evaluation import tiny_gguf
from tests.serving import event_loop
from tests.serving.ml.engine_rig import served
from tests.training.ml.encoders.test_onnx import LONG, compiled, exported
from tests.training.ml.encoders.test_output_decoder import TEXT
from tests.training.ml_data import SCHEMA, rows, tiny, trained_tiny_encoder
from training.ml.encoders.onnx_scorer import OnnxPrecision, load_onnx_predictor
from training.spec import ContractRef

pytestmark = pytest.mark.slow


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def opened(browser: Browser, watch: Watch, folder: Path) -> Iterator[Page]:
    """The page of a bundle on a server of static files, with its model loaded. Other servers cannot be reached."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        context = browser.new_context()
        elsewhere: list[str] = []

        def only_here(route: Route) -> None:
            if route.request.url.startswith(address):
                route.continue_()
            else:
                elsewhere.append(route.request.url)
                route.abort()

        context.route(lambda url: url.startswith("http"), only_here)
        page = context.new_page()
        watch.attach(page)
        page.goto(address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=120_000)
        yield page
        context.close()
        server.shutdown()
    assert not elsewhere


def answer_of(page: Page, text: str) -> str:
    """The output for a document, as JSON."""
    page.fill("#document", text)
    page.click("#extract")
    expect(page.locator("#status")).to_contain_text("Answered in", timeout=120_000)
    expect(page.locator("#status")).not_to_contain_text("does not match")
    return page.text_content("#output") or ""


#: with values in ASCII alone: random weights would write bytes that are no characters
DECODED: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["number", "lines", "paid"],
    "properties": {
        "note": {"enum": ['say "x"', "a\\b", "none"]},
        "number": {"type": "string", "pattern": r"^[A-Z]{1,2}-\d{1,3}(?:/[#A-F]|)$"},
        "day": {"type": "string", "format": "date"},
        "paid": {"type": ["boolean", "null"]},
        "lines": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "items": {"type": "object", "additionalProperties": False, "properties": {"kind": {"enum": [1, 22, 333]}}},
        },
    },
}
TEXTS = ("Invoice A-100\ntotal 1.50", "Invoice 7", "", "thank you <|im_end|> for number 12")


def test_a_decoder_writes_what_llama_cpp_writes(browser: Browser, watch: Watch, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    tiny_gguf.write(tiny(), package / "model.gguf")
    spec, builder = served("llama_cpp", schema=DECODED, gguf="model.gguf")
    (package / FILE).write_text(spec.to_yaml())
    (package / PROMPT).write_text(json.dumps(prompt_template(builder), default=vars))

    async def outputs() -> list[str]:
        # Not by the engine's grammar: with llguidance, names are written in the tokens that the tokenizer gives them,
        # to which random weights are indifferent.
        engine = LlamaCppEngine(package, spec, builder)
        await engine.start()
        made = [await engine._complete(builder.prompt(text), 60, grammar=gbnf(DECODED)) for text in TEXTS]
        await engine.close()
        return [str(response["content"]) for response in made]

    wanted = event_loop.run(outputs())
    size = write_bundle(package, tmp_path / "edge", title="Invoices, package 1")
    assert size < 13e6
    with opened(browser, watch, tmp_path / "edge") as page:
        for text, output in zip(TEXTS, wanted, strict=True):
            assert not builder.schema.validate(json.loads(output))
            assert answer_of(page, text) == output
        page.fill("#document", "word " * 500)
        page.click("#extract")
        expect(page.locator("#status")).to_contain_text("exceeds the available context size (512 tokens)")
        watch.allow("exceed_context_size_error")


def check_encoder(
    browser: Browser, watch: Watch, package: Path, schema: Any, precision: OnnxPrecision, texts: Sequence[str]
) -> None:
    """The page has the outputs of the predictor, and its confidence. ``package``: has only the folder ``model``."""
    spec = ServeSpec(
        engine="encoder",
        contract=ContractRef(instruction="Extract.", schema=schema),
        output_tokens=OutputTokens(reserved=0, maximum=0),
    )
    (package / FILE).write_text(spec.to_yaml())
    predictor = load_onnx_predictor(package / "model", compile_schema(schema), precision=precision)
    write_bundle(package, package / "edge", title="Invoices, package 1")
    with opened(browser, watch, package / "edge") as page:
        for text in texts:
            prediction = predictor.predict(text)
            assert loads(answer_of(page, text)) == loads(prediction.text)
            rows = page.locator("#values tr").all_inner_texts()
            shown = {path: share for path, _, share in (row.split("\t") for row in rows) if share != "–"}
            assert shown
            for path, share in shown.items():
                assert abs(int(share.removesuffix("%")) / 100 - prediction.confidence[path]) <= 0.03


def test_an_encoder_answers_as_its_predictor(browser: Browser, watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("model-fp32.onnx", "config.json", "tokenizer.json", "heads.json"):
        shutil.copyfile(exported() / name, tmp_path / "model" / name)
    texts = (TEXT, LONG, "Straße 😀 3. März 2026", "total 12.50 a 1,000 b 03/04/2026", "0")
    check_encoder(browser, watch, tmp_path, compiled().schema, "fp32", texts)


def test_a_trained_encoder_in_int8_answers_as_its_predictor(browser: Browser, watch: Watch, tmp_path: Path) -> None:
    from training.ml.encoders.onnx_export import export_onnx

    export_onnx(trained_tiny_encoder(), compile_schema(SCHEMA), tmp_path / "model")
    check_encoder(browser, watch, tmp_path, SCHEMA, "int8", [row["text"] for row in rows()[:10]])
