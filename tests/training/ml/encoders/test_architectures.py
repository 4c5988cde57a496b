"""Encoders of each architecture of the catalog: one step of training, and the ONNX file answers as torch does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmstudio.contract.schema.compiled import compile_schema
from tests.training.ml_data import SCHEMA, EventCollector, rows, tiny_encoder, train_spec, write_dataset
from training.ml.encoders.onnx_scorer import load_onnx_predictor
from training.ml.encoders.predictor import load_predictor
from training.ml.train import main
from training.spec import RunSpec
from training.strict_yaml import build

#: model_type -> what its configuration needs besides sizes
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "modernbert": {
        "num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 16, "bos_token_id": 1,
        "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2,
    },
    "mpnet": {},
    "xlm-roberta": {},
    "deberta-v2": {
        "relative_attention": True, "position_buckets": 16, "pos_att_type": "p2c|c2p", "position_biased_input": False,
        "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
    },
}  # fmt: skip


def random_encoder(folder: Path, architecture: str) -> Path:
    """A tiny encoder with random weights and the tokenizer of the tiny one."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder())
    config = AutoConfig.for_model(
        architecture, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_attention_heads=4,
        max_position_embeddings=96, pad_token_id=0, **{"num_hidden_layers": 1, **ARCHITECTURES[architecture]},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_encoder_of_each_architecture_is_trained_and_exported(tmp_path: Path, architecture: str) -> None:
    from training.ml.encoders.onnx_export import export_onnx

    base = random_encoder(tmp_path / "base", architecture)
    dataset = write_dataset(tmp_path / "data.jsonl", rows(train=4, validation=2))
    spec = build(RunSpec, train_spec(base, dataset, tmp_path / "out", method="full", epochs=1.0, sample_documents=0))
    main(spec, EventCollector().emitter)
    trained, schema = tmp_path / "out/merged", compile_schema(SCHEMA)
    export_onnx(trained, schema, tmp_path / "onnx", ["fp32"])
    exact = load_predictor(trained, schema)
    exported = load_onnx_predictor(tmp_path / "onnx", schema, precision="fp32")
    texts = [row["text"] for row in rows(train=4, validation=0, holdout=0)] + ["Invoice A-1 total 2.50 " * 40, "a", ""]
    for text in texts:
        windows = exact.windows(text)
        for wanted, made in zip(exact.scorer.scores(windows), exported.scorer.scores(windows), strict=True):
            for name, scores in wanted.items():
                np.testing.assert_allclose(made[name], scores, atol=1e-4)
    answers = exact.predict_together(texts)
    assert [answer.text for answer in exported.predict_together(texts)] == [answer.text for answer in answers]
