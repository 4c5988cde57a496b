"""Which prompts are tried, and which one is kept. Pure."""

import pytest

from evaluation.prompts.search import Prompt, Space, Trial, example_sets, instructions
from slmstudio.contract.schema.compiled import compile_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "queue": {"type": "string", "enum": ["billing", "other"], "description": "The team."},
        "number": {"type": "string"},
    },
}


def trial(prompt: Prompt, right: int) -> Trial:
    return Trial(prompt, right, 10, 0, 100, 1.0)


def test_instructions_add_what_the_schema_says() -> None:
    texts = instructions("Do it.", compile_schema(SCHEMA))
    assert texts[0] == "Do it."
    assert all(text.startswith("Do it.") for text in texts)
    assert len(set(texts)) == 4
    assert "- queue: The team. One of: billing, other." in texts[2]


def test_other_examples_are_tried_with_the_best_instruction() -> None:
    space = Space(["a", "b", "c"], [(1, 2), (), (3, 4, 5, 6)])
    tried = []
    for prompt in space.prompts():
        tried.append((prompt.instruction, prompt.examples))
        space.trials.append(trial(prompt, {"b": 7, "c": 5}.get(prompt.instruction, 3) + len(prompt.examples) // 4))
    assert tried == [("a", (1, 2)), ("b", (1, 2)), ("c", (1, 2)), ("b", ()), ("b", (3, 4, 5, 6))]
    best = space.best()
    assert best is not None
    assert best.prompt == Prompt("b", (3, 4, 5, 6))


def test_of_equal_trials_the_earlier_one_is_kept() -> None:
    space = Space(["a", "b"], [()], [trial(Prompt("a", ()), 5), trial(Prompt("b", ()), 5)])
    best = space.best()
    assert best is not None
    assert best.prompt.instruction == "a"


@pytest.mark.parametrize("classes", [2, 4])
def test_examples_cover_the_classes(classes: int) -> None:
    labeled = {key: f"class {key % classes}" for key in range(40)}
    sets = example_sets([1, 2], labeled, dict.fromkeys(labeled, 10), seed=3)
    assert sets[:2] == [(1, 2), ()]
    assert [len(examples) for examples in sets[2:]] == [4, 8]
    assert len({labeled[key] for key in sets[2]}) == classes
    assert set(sets[2]) < set(sets[3])
    assert sets == example_sets([1, 2], labeled, dict.fromkeys(labeled, 10), seed=3)
