"""The prompt that a search found for a model, as columns."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from slmstudio.contract.json_text import dumps
from slmstudio.storage.hashing import sha256_text


class AbstractPrompt(models.Model):
    """Instruction and few-shot examples that replace those of the contract and the seed. ``OptimizedPrompt`` is its
    table."""

    number = models.PositiveIntegerField()
    instruction = models.TextField(blank=True, help_text="the best instruction; empty until the search is done")
    examples = ArrayField(
        models.BigIntegerField(), default=list, blank=True, help_text="keys of the few-shot examples, in their order"
    )

    class Meta:
        abstract = True

    @property
    def short_label(self) -> str:
        """ "optimized prompt 2"."""
        return f"optimized prompt {self.number}"

    @property
    def prompt_sha256(self) -> str:
        """SHA-256 of instruction and examples."""
        return sha256_text(dumps({"instruction": self.instruction, "examples": self.examples}))
