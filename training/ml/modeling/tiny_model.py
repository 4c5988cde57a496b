"""Tiny random models with a byte-level tokenizer, a decoder and an encoder: for tests and demonstrations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = (
    "invoice", "total", "amount", "date", "vendor", "company", "address", "number", "null", "true", "false", "system",
    "user", "assistant", "extract", "fields", "into", "the", "JSON", "schema", "from", "document",
)  # fmt: skip
_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tiny(folder: str | Path, *, seed: int = 0) -> Path:
    """Writes the model into ``folder`` (created where missing) and returns its path. Same seed, same bytes.

    About 170 thousand parameters in fp32: 2 layers, hidden size 64, 4 heads, 2048 positions.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.08,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return _saved(Path(folder), tokenizer, lambda: LlamaForCausalLM(config), seed)


def build_tiny_encoder(folder: str | Path, *, seed: int = 0) -> Path:
    """Writes an encoder into ``folder`` as ``build_tiny`` does: BERT, 2 layers, hidden size 64, 256 positions."""
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer()
    ends = [(_SPECIALS[1], 1), (_SPECIALS[2], 2)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{_SPECIALS[1]} $A {_SPECIALS[2]}", special_tokens=ends
    )
    tokenizer.chat_template = None
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
    )
    return _saved(Path(folder), tokenizer, lambda: BertModel(config, add_pooling_layer=False), seed)


def _saved(folder: Path, tokenizer: Any, make: Callable[[], Any], seed: int) -> Path:
    """The folder with a model of random weights, drawn by the seed, and its tokenizer."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """A byte-level tokenizer with merges for a few words, so that texts have several tokenizations."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [*_SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in [*_WORDS, '":"', '","', '{"', '"}']:
        merges += [(word[:end], word[end]) for end in range(1, len(word))]
    merges = [*dict.fromkeys(merges), *(("Ġ", word) for word in _WORDS)]
    symbols += [left + right for left, right in merges]
    vocabulary = {text: index for index, text in enumerate(dict.fromkeys(symbols))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=_SPECIALS[1],
        eos_token=_SPECIALS[2],
        pad_token=_SPECIALS[2],
        unk_token=_SPECIALS[0],
        chat_template=_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
