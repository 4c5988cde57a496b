"""The world of the evaluation tests: a project with a base model, a fine-tuned one and their people."""

from tests.evaluation.conftest import world as world
