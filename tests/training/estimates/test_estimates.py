"""Estimates of a run: memory parts, limits, suggested changes, and their accuracy."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slmstudio.workers.hardware import Gpu, Hardware
from training.base_models.catalog import CATALOG, ENCODER
from training.estimates.estimate import Estimate, accuracy_lines, estimate, fit, trained_lengths
from training.estimates.memory import training_memory
from training.estimates.throughput import STARTUP_SECONDS
from training.hyperparameters.definitions import Hyperparameters
from training.model_shape import ModelShape, UnknownModelShape

SMOL = next(known.shape for known in CATALOG if known.shape and known.slug == "smollm2-135m-instruct")
LARGE = next(known.shape for known in CATALOG if known.shape and known.slug == "qwen3-1-7b")
HYPERPARAMETERS = Hyperparameters(max_length=1024)
GB = 10**9


def machine(gigabytes: float, gpu: float = 0) -> Hardware:
    cards = (Gpu(0, "GPU-0", "NVIDIA Test", int(gpu * GB)),) if gpu else ()
    return Hardware("host", "CPU", 2, int(gigabytes * GB), int(gigabytes * GB), cards, bf16=True)


def bare_gpu(gigabytes: float) -> Hardware:
    """A card without the package that QLoRA needs."""
    return replace(machine(500, gpu=gigabytes), packages=())


def estimated(
    hardware: Hardware | None = None,
    shape: ModelShape = SMOL,
    hyperparameters: Hyperparameters = HYPERPARAMETERS,
    **more: Any,
) -> Estimate:
    return estimate(
        shape=shape, hyperparameters=hyperparameters, lengths=[200, 500, 900], hardware=hardware, answer=100, **more
    )


def total(shape: ModelShape = SMOL, device: str = "cpu", longest: int = 900, **changes: Any) -> int:
    hyperparameters = replace(HYPERPARAMETERS, **{"precision": "bf16", **changes})
    parts = training_memory(
        shape,
        method=hyperparameters.method,
        hyperparameters=hyperparameters,
        longest=longest,
        precision=hyperparameters.precision,
        device=device,
        answer=100,
    )
    return sum(part.bytes for part in parts)


def test_catalog_parameters_match_their_shapes() -> None:
    for known in CATALOG:
        if known.shape:
            expected = expected_parameters(known.architecture, known.shape)
            # positions, biases and the pooler of encoders are not derived
            allowed = 0.02 if known.family == ENCODER else 0
            assert known.shape.parameters == pytest.approx(expected, rel=allowed), known.slug


def expected_parameters(architecture: str, shape: ModelShape) -> int:
    norms = {"Gemma3ForCausalLM": 2 * shape.hidden + 2 * shape.head_dim, "Qwen3ForCausalLM": 2 * shape.head_dim}
    biases = {"Qwen2ForCausalLM": shape.attention_width + 2 * shape.kv_width}
    more = norms.get(architecture, 0) + biases.get(architecture, 0)
    return shape.derived_parameters() + shape.layers * more


def test_shape_is_read_from_a_configuration_with_widths() -> None:
    config = {
        "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    assert ModelShape.from_config(config) == SMOL
    assert ModelShape.from_dict(SMOL.as_dict()) == SMOL
    with pytest.raises(UnknownModelShape, match="hidden_size"):
        ModelShape.from_config({**config, "hidden_size": "wide"})
    with pytest.raises(UnknownModelShape):
        ModelShape.from_dict({})


def test_larger_settings_need_more_memory() -> None:
    usual = total()
    assert total(batch_size=16, device="cuda") > total(device="cuda")
    assert total(lora_r=256) > usual
    assert total(method="full") > usual
    assert total(precision="fp32", device="cuda") > total(device="cuda")
    assert total(activation_checkpointing=True) < usual
    assert total(LARGE) > usual


def test_cpu_batch_needs_the_memory_of_a_micro_batch() -> None:
    assert total(batch_size=16) == total(batch_size=2) > total(batch_size=1)
    assert total(batch_size=16, longest=2000) == total(batch_size=1, longest=2000), "no piece is less than a row"
    assert total(batch_size=16, longest=100) > total(batch_size=8, longest=100), "all of them are one piece"
    assert total(batch_size=16, devices=2) > total(batch_size=2, devices=2), "processes that share a step cut nothing"


def test_fitting_run_and_unknown_hardware_have_no_problems() -> None:
    assert estimated(machine(500)).fits is True
    unknown = estimated(None)
    assert (unknown.memory_limit, unknown.fits, unknown.problems) == (None, None, {})


def test_single_change_is_suggested_where_sufficient() -> None:
    room = machine(500, gpu=estimated(machine(500, gpu=500)).memory_bytes * 0.8 / 0.92 / GB)
    limited = estimated(room)
    assert limited.suggestions == {"batch_size": 4}
    assert set(limited.problems) == {"batch_size"}
    assert limited.fits is False
    assert estimated(room, hyperparameters=replace(HYPERPARAMETERS, batch_size=4, accumulation=2)).fits


@pytest.mark.parametrize("share", [0.6, 0.3, 0.15])
@pytest.mark.parametrize("place", [bare_gpu, machine])
def test_suggested_values_fit(share: float, place: Callable[[float], Hardware]) -> None:
    hyperparameters = replace(HYPERPARAMETERS, method="full", batch_size=16, precision="bf16")
    if place is machine:
        share = (1 + share) / 2  # a processor goes through a batch in pieces, so less can be saved
    room = place(estimated(place(500), hyperparameters=hyperparameters).memory_bytes * share / 0.92 / GB)
    limited = estimated(room, hyperparameters=hyperparameters)
    assert limited.suggestions
    assert set(limited.suggestions) == set(limited.problems)
    changed = dict(limited.suggestions)
    if "batch_size" in changed:
        changed["accumulation"] = hyperparameters.effective_batch // changed["batch_size"]
    assert estimated(room, hyperparameters=replace(hyperparameters, **changed)).problems == {}


def test_several_changes_are_each_minimal() -> None:
    hyperparameters, room = replace(HYPERPARAMETERS, method="full"), bare_gpu(14)
    limited = estimated(room, LARGE, hyperparameters)
    assert limited.suggestions == {"batch_size": 2, "method": "lora"}, (
        "no document is given up, nothing is computed again"
    )
    assert set(limited.problems) == set(limited.suggestions)
    assert estimated(room, LARGE, replace(hyperparameters, batch_size=2, accumulation=4, method="lora")).fits
    assert not estimated(room, LARGE, replace(hyperparameters, batch_size=4, accumulation=2, method="lora")).fits


def test_shorter_sequence_is_suggested_alone_only_for_few_dropped_documents() -> None:
    def estimate_of(lengths: list[int]) -> Estimate:
        hyperparameters = Hyperparameters(max_length=8000)
        return estimate(shape=SMOL, hyperparameters=hyperparameters, lengths=lengths, hardware=bare_gpu(4), answer=100)

    short = [200] * 50
    assert estimate_of([*short, 8000]).suggestions == {"max_length": 256}
    many = estimate_of([*short, *range(300, 8001, 100)])
    assert many.suggestions == {"batch_size": 4, "activation_checkpointing": True}


def test_model_that_never_fits_is_the_problem() -> None:
    assert set(estimated(machine(2), LARGE, replace(HYPERPARAMETERS, method="full")).problems) == {"base_model"}


def test_gpu_is_the_limit_and_offers_qlora() -> None:
    limited = estimated(
        machine(500, gpu=4), LARGE, replace(HYPERPARAMETERS, batch_size=1, activation_checkpointing=True)
    )
    assert limited.limit_name == "NVIDIA Test of host"
    assert "QLoRA" in " ".join(limited.problems.values())


def test_qlora_is_not_suggested_without_its_package() -> None:
    room = machine(500, gpu=3)
    assert estimated(room, LARGE).suggestions["method"] == "qlora"
    limited = estimated(replace(room, packages=()), LARGE)
    assert (limited.suggestions, list(limited.problems)) == ({}, ["base_model"])
    assert "pip install bitsandbytes" in limited.problems["base_model"]
    assert "bitsandbytes" not in estimated(replace(machine(500, gpu=1), packages=()), LARGE).problems["base_model"]


@pytest.mark.parametrize(("method", "trained"), [("full", SMOL.parameters), ("lora", SMOL.adapter_parameters(16))])
def test_weight_averaging_adds_a_copy_of_the_trained_weights(method: str, trained: int) -> None:
    hyperparameters = replace(HYPERPARAMETERS, method=method, lora_r=16)
    usual = estimated(hyperparameters=hyperparameters)
    averaged = estimated(hyperparameters=replace(hyperparameters, weight_averaging="ema"))
    assert averaged.memory_bytes - usual.memory_bytes == 4 * trained
    assert averaged.disk_bytes - usual.disk_bytes == 4 * 4 * trained  # in each of the four checkpoints


def test_early_stopping_takes_the_disk_of_a_checkpoint_and_a_second_model_of_both() -> None:
    def disk(**changes: Any) -> int:
        return estimated(hyperparameters=replace(HYPERPARAMETERS, method="full", **changes)).disk_bytes

    usual = disk(keep_best_and_last=False)
    assert disk(keep_best_and_last=False, early_stopping=3) - usual == 12 * SMOL.parameters
    assert disk(keep_best_and_last=True) - usual == (12 + 2) * SMOL.parameters


def test_full_disk_is_a_problem_with_a_suggestion() -> None:
    full = estimated(machine(500), hyperparameters=replace(HYPERPARAMETERS, method="full"), disk_free=3 * GB)
    assert "LoRA writes" in full.problems["disk"]
    assert "disk" not in estimated(machine(500), disk_free=3 * GB).problems


def test_measured_throughput_is_preferred_and_named() -> None:
    measured = estimated(machine(500), speed=100.0, speed_from="from run 3")
    assert measured.seconds == pytest.approx(measured.tokens / 100, abs=60)
    assert measured.seconds_from == "from run 3"
    rough = estimated(machine(500))
    assert rough.seconds
    assert "within a factor of two" in rough.seconds_from
    assert estimated(machine(500), hyperparameters=replace(HYPERPARAMETERS, method="full")).seconds > rough.seconds  # type: ignore[operator]
    assert estimated(None).seconds is None


def test_dropped_rows_cost_nothing() -> None:
    short = estimated(machine(500), hyperparameters=replace(HYPERPARAMETERS, max_length=512, too_long="leave_out"))
    assert short.tokens == round(700 * HYPERPARAMETERS.epochs)
    assert short.memory_bytes < estimated(machine(500)).memory_bytes


def test_a_row_over_the_limit_counts_as_its_windows() -> None:
    hyperparameters = replace(HYPERPARAMETERS, max_length=1000)
    lengths = trained_lengths([200, 1000, 9000], hyperparameters)
    assert (lengths[:2], max(lengths)) == ([200, 1000], 1000)
    assert 9000 < sum(lengths[2:]) < 12_000


def test_estimate_survives_storage() -> None:
    limited = estimated(machine(3), LARGE)
    assert Estimate.from_dict(json.loads(json.dumps(limited.as_dict()))) == limited
    assert Estimate.from_dict({}) is None


def test_estimate_is_compared_with_what_a_run_measured() -> None:
    estimate = replace(estimated(machine(500)), memory_bytes=4 * GB, seconds=100.0 + STARTUP_SECONDS)
    memory, seconds = accuracy_lines(estimate, {"peak_memory_bytes": 5 * GB, "seconds": 80.0})
    assert all(text in memory for text in ("4.0 GB", "5.0 GB", "20% too low"))
    assert "25% too high" in seconds
    assert accuracy_lines(estimate, {}) == []


def test_fit_on_production_hardware() -> None:
    assert fit(SMOL).fits is True
    tight = fit(LARGE, limit_bytes=2 * GB)
    assert tight.fits is False
    assert "2.0 GB" in tight.sentence
    assert fit(None).fits is None
