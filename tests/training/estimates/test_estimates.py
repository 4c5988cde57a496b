"""What a run is foretold to cost: parts, limits, the knob to turn, and how far off it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slmstudio.workers.hardware import Gpu, Hardware
from training.base_models.catalog import CATALOGUE
from training.estimates.estimate import Estimate, NoShape, Shape, estimate, fit, how_far_off, training_memory
from training.estimates.throughput import STARTING
from training.runs.presets import Knobs

SMOL = next(known.shape for known in CATALOGUE if known.slug == "smollm2-135m-instruct")
LARGE = next(known.shape for known in CATALOGUE if known.slug == "qwen3-1-7b")
KNOBS = Knobs(max_length=1024)
GB = 10**9


def machine(gigabytes: float, gpu: float = 0) -> Hardware:
    cards = (Gpu(0, "GPU-0", "NVIDIA Test", int(gpu * GB)),) if gpu else ()
    return Hardware("host", "CPU", 2, int(gigabytes * GB), int(gigabytes * GB), cards, bf16=True)


def bare_gpu(gigabytes: float) -> Hardware:
    """A card without the package that QLoRA needs."""
    return replace(machine(500, gpu=gigabytes), packages=())


def told(hardware: Hardware | None = None, shape: Shape = SMOL, knobs: Knobs = KNOBS, **more: Any) -> Estimate:
    return estimate(shape=shape, knobs=knobs, lengths=[200, 500, 900], hardware=hardware, answer=100, **more)


def total(shape: Shape = SMOL, device: str = "cpu", longest: int = 900, **changes: Any) -> int:
    knobs = replace(KNOBS, **{"precision": "bf16", **changes})
    parts = training_memory(
        shape, method=knobs.method, knobs=knobs, longest=longest, precision=knobs.precision, device=device, answer=100
    )
    return sum(part.bytes for part in parts)


@pytest.mark.parametrize("known", CATALOGUE, ids=lambda known: known.slug)
def test_the_parameters_of_the_catalogue_follow_from_its_shapes(known: Any) -> None:
    shape = known.shape
    norms = {"Gemma3ForCausalLM": 2 * shape.hidden + 2 * shape.head_dim, "Qwen3ForCausalLM": 2 * shape.head_dim}
    assert shape.parameters == shape.derived_parameters() + shape.layers * norms.get(known.architecture, 0)


def test_a_configuration_gives_the_shape_and_one_without_widths_does_not() -> None:
    config = {
        "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    assert Shape.from_config(config) == SMOL
    assert Shape.from_dict(SMOL.as_dict()) == SMOL
    with pytest.raises(NoShape, match="hidden_size"):
        Shape.from_config({**config, "hidden_size": "wide"})
    with pytest.raises(NoShape):
        Shape.from_dict({})


def test_every_knob_that_takes_memory_takes_more_when_it_is_turned_up() -> None:
    usual = total()
    assert total(batch_size=16, device="cuda") > total(device="cuda")
    assert total(lora_r=256) > usual
    assert total(method="full") > usual
    assert total(precision="fp32") > usual
    assert total(activation_checkpointing=True) < usual
    assert total(LARGE) > usual


def test_on_a_processor_a_batch_takes_what_a_piece_of_it_takes() -> None:
    assert total(batch_size=16) == total(batch_size=2) > total(batch_size=1)
    assert total(batch_size=16, longest=2000) == total(batch_size=1, longest=2000), "no piece is less than a row"
    assert total(batch_size=16, longest=100) > total(batch_size=8, longest=100), "all of them are one piece"
    assert total(batch_size=16, devices=2) > total(batch_size=2, devices=2), "processes that share a step cut nothing"


def test_what_fits_is_not_refused_and_where_nobody_knows_nothing_is_either() -> None:
    assert told(machine(500)).fits is True
    unknown = told(None)
    assert (unknown.memory_limit, unknown.fits, unknown.refusals) == (None, None, {})


def test_the_first_knob_that_is_enough_by_itself_is_named_with_the_value_that_fits() -> None:
    room = machine(500, gpu=told(machine(500, gpu=500)).memory_bytes * 0.8 / 0.92 / GB)
    found = told(room)
    [(knob, sentence)] = found.refusals.items()
    assert knob == "batch_size"
    assert "4 documents at once" in sentence
    assert found.fits is False
    assert told(room, knobs=replace(KNOBS, batch_size=4, accumulation=2)).fits


@pytest.mark.parametrize("share", [0.6, 0.4, 0.3, 0.25, 0.2, 0.15])
@pytest.mark.parametrize("place", [bare_gpu, machine])
def test_turning_the_knobs_that_are_named_makes_it_fit(share: float, place: Callable[[float], Hardware]) -> None:
    knobs = replace(KNOBS, method="full", batch_size=16, precision="bf16")
    if place is machine:
        share = (1 + share) / 2  # a processor goes through a batch in pieces, so less can be saved
    room = place(told(place(500), knobs=knobs).memory_bytes * share / 0.92 / GB)
    refusals = told(room, knobs=knobs).refusals
    assert refusals
    assert "base_model" not in refusals
    turned: dict[str, Any] = {}
    for knob, sentence in refusals.items():
        words = sentence.replace(",", "").split()
        if knob == "batch_size":
            turned[knob] = int(words[words.index("Let") + 1])
        elif knob == "max_length":
            turned[knob] = int(words[words.index("length") + 2])
        else:
            turned[knob] = {"activation_checkpointing": True, "method": "lora"}[knob]
    assert told(room, knobs=replace(knobs, **turned)).refusals == {}


def test_of_several_knobs_none_is_turned_further_than_the_others_need() -> None:
    knobs, room = replace(KNOBS, method="full"), bare_gpu(14)
    found = told(room, LARGE, knobs)
    assert found.turn == {"batch_size": 2, "method": "lora"}, "no document is given up, nothing is computed again"
    assert set(found.refusals) == set(found.turn)
    said = " ".join(found.refusals.values())
    assert "One knob is not enough" in said
    assert "it fits" not in said
    assert told(room, LARGE, replace(knobs, batch_size=2, accumulation=4, method="lora")).fits
    assert not told(room, LARGE, replace(knobs, batch_size=4, accumulation=2, method="lora")).fits


def test_a_shorter_limit_is_named_by_itself_only_where_hardly_a_document_stays_out() -> None:
    def found(lengths: list[int]) -> Estimate:
        knobs = Knobs(max_length=8000)
        return estimate(shape=SMOL, knobs=knobs, lengths=lengths, hardware=bare_gpu(4), answer=100)

    short = [200] * 50
    assert found([*short, 8000]).turn == {"max_length": 256}
    assert "and it fits" in found([*short, 8000]).refusals["max_length"]
    assert found([*short, *range(300, 8001, 100)]).turn == {"batch_size": 4, "activation_checkpointing": True}


def test_a_model_that_is_too_large_in_any_case_is_named_itself() -> None:
    assert set(told(machine(2), LARGE, replace(KNOBS, method="full")).refusals) == {"base_model"}


def test_a_gpu_is_the_limit_where_there_is_one_and_offers_qlora() -> None:
    found = told(machine(500, gpu=4), LARGE, replace(KNOBS, batch_size=1, activation_checkpointing=True))
    assert found.limit_name == "NVIDIA Test of host"
    assert "QLoRA" in " ".join(found.refusals.values())


def test_qlora_is_not_advised_where_its_package_is_missing() -> None:
    room = machine(500, gpu=3)
    assert told(room, LARGE).turn["method"] == "qlora"
    found = told(replace(room, packages=()), LARGE)
    assert (found.turn, list(found.refusals)) == ({}, ["base_model"])
    assert "pip install bitsandbytes" in found.refusals["base_model"]
    assert "bitsandbytes" not in told(replace(machine(500, gpu=1), packages=()), LARGE).refusals["base_model"]


def test_early_stopping_keeps_a_whole_checkpoint_more() -> None:
    knobs = replace(KNOBS, method="full")
    usual, patient = (told(knobs=replace(knobs, early_stopping=looks)).disk_bytes for looks in (None, 3))
    assert patient - usual == 12 * SMOL.parameters


def test_a_disk_without_room_is_refused_with_what_would_do() -> None:
    full = told(machine(500), knobs=replace(KNOBS, method="full"), disk_free=3 * GB)
    assert "LoRA writes" in full.refusals["disk"]
    assert "disk" not in told(machine(500), disk_free=3 * GB).refusals


def test_a_measured_speed_gives_the_time_and_without_one_it_is_worked_out_and_says_so() -> None:
    measured = told(machine(500), speed=100.0, speed_from="from run 3")
    assert measured.seconds == pytest.approx(measured.tokens / 100, abs=60)
    assert measured.seconds_from == "from run 3"
    rough = told(machine(500))
    assert rough.seconds
    assert "half or twice" in rough.seconds_from
    assert told(machine(500), knobs=replace(KNOBS, method="full")).seconds > rough.seconds  # type: ignore[operator]
    assert told(None).seconds is None


def test_rows_that_are_left_out_cost_nothing() -> None:
    short = told(machine(500), knobs=replace(KNOBS, max_length=512, too_long="leave_out"))
    assert short.tokens == round(700 * KNOBS.epochs)
    assert short.memory_bytes < told(machine(500)).memory_bytes


def test_an_estimate_comes_back_from_the_database_as_it_went_in() -> None:
    found = told(machine(3), LARGE)
    assert Estimate.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert Estimate.from_dict({}) is None


def test_how_far_off_it_was_is_said_in_words() -> None:
    found = replace(told(machine(500)), memory_bytes=4 * GB, seconds=100.0 + STARTING)
    outcome = how_far_off(found, {"peak_memory_bytes": 5 * GB, "seconds": 80.0})
    assert outcome.memory_off == pytest.approx(0.25)
    assert outcome.seconds_off == pytest.approx(-0.2)
    assert (
        outcome.sentence == "It took 5.0 GB of memory, 25 % more than foretold, and it ran 20 % shorter than foretold."
    )
    assert how_far_off(None, {}).sentence == ""
    assert how_far_off(found, {}).memory_off is None


def test_a_model_is_held_against_the_hardware_it_is_to_be_served_on() -> None:
    assert fit(SMOL).fits is True
    tight = fit(LARGE, limit_bytes=2 * GB)
    assert tight.fits is False
    assert "2.0 GB" in tight.sentence
    assert fit(None).fits is None
