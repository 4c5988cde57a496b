"""The tiny random model as a GGUF file, so that a real llama.cpp answers in a test within a second.

llama.cpp's own converter refuses it, because it does not know the tokenizer's name. Its pre-tokenizer is that of
SmolLM2, so under that name llama.cpp reads text as the tiny model does.
"""

import json
from pathlib import Path
from typing import Any

import pytest


def write(folder: Path, file: Path) -> Path:
    """Writes ``file``. Skips the test where llama.cpp or the writer of its files is not installed."""
    pytest.importorskip("xllamacpp")
    gguf = pytest.importorskip("gguf")
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _words(writer, tokenizer)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if "q_proj" in name or "k_proj" in name:
            tensor = _turned(tensor, heads if "q_proj" in name else groups)
        writer.add_tensor(_name(name), tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _words(writer: Any, tokenizer: dict[str, Any]) -> None:
    words = {**tokenizer["model"]["vocab"], **{one["content"]: one["id"] for one in tokenizer["added_tokens"]}}
    special = {one["content"] for one in tokenizer["added_tokens"]}
    ordered = sorted(words, key=lambda word: words[word])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(ordered)
    writer.add_token_types([3 if word in special else 1 for word in ordered])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def _turned(tensor: Any, heads: int) -> Any:
    """Rows as llama.cpp turns them: pairs of neighbours, where transformers has two halves."""
    size, width = tensor.shape
    return tensor.reshape(heads, 2, size // heads // 2, width).swapaxes(1, 2).reshape(size, width)


def _name(name: str) -> str:
    plain = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, *rest = stem.split(".")
        return f"blk.{layer}.{plain['.'.join(rest)]}.{kind}"
    return f"{plain[stem]}.{kind}"
