"""Encoding of prompts and completions, shared by training, lengths, samples and evaluation.

Prompt and completion are tokenized separately and joined, so that training has the same boundary as generation: a
tokenizer could otherwise merge the end of a prompt with the start of its completion.
"""

from collections.abc import Sequence
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from training import prompts
from training.prompts import FewShotExample


class Encoder:
    """A tokenizer and a prompt style.

    ``end_id`` closes every completion; ``stop_ids`` are all tokens that end a generation. ``special_tokens`` are the
    texts of control tokens, which are escaped in documents.
    """

    def __init__(self, tokenizer: Any, style: str, generation_config: Any = None) -> None:
        self.tokenizer = tokenizer
        self.style = style
        self.special_tokens: tuple[str, ...] = tuple(tokenizer.all_special_tokens) + tuple(
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        )
        self._system_role = True
        if style == "chat":
            if not tokenizer.chat_template:
                raise Refused("This model has no chat template. Choose the plain prompt.", code="prompt")
            self._system_role = self._knows_system()
        self.end_id = self._find_end()
        stops = {self.end_id, *_ids(tokenizer.eos_token_id), *_ids(getattr(generation_config, "eos_token_id", None))}
        self.stop_ids = tuple(sorted(stops))

    def prompt(
        self,
        *,
        instruction: str,
        document: str,
        schema_text: str | None = None,
        examples: Sequence[FewShotExample] = (),
    ) -> list[int]:
        """Token ids up to the output of the model."""
        ids = self._ids(
            self.text(instruction=instruction, document=document, schema_text=schema_text, examples=examples)
        )
        return [self.tokenizer.bos_token_id, *ids] if self.adds_bos else ids

    @property
    def adds_bos(self) -> bool:
        """Whether a prompt starts with the tokenizer's start token although its text does not contain it.

        Tested by tokenizing: ``add_bos_token`` is False where a post-processor adds the token, as in Gemma.
        """
        bos = self.tokenizer.bos_token_id
        return self.style == "plain" and bos is not None and list(self.tokenizer("a")["input_ids"][:1]) == [bos]

    def text(
        self,
        *,
        instruction: str,
        document: str,
        schema_text: str | None = None,
        examples: Sequence[FewShotExample] = (),
    ) -> str:
        """The text of ``prompt``."""
        parts: dict[str, Any] = {
            "instruction": instruction,
            "document": self._safe(document),
            "schema_text": schema_text,
            "examples": [FewShotExample(self._safe(example.document), example.answer) for example in examples],
        }
        return prompts.plain(**parts) if self.style == "plain" else self._render(prompts.chat(**parts))

    def template_sha256(
        self, *, instruction: str, schema_text: str | None = None, examples: Sequence[FewShotExample] = ()
    ) -> str:
        """The hash of the text of ``prompt`` with a placeholder in place of the document: instruction, schema, few-shot
        examples, and the chat template around them."""
        return sha256_text(
            self.text(instruction=instruction, document=prompts.PLACEHOLDER, schema_text=schema_text, examples=examples)
        )

    def chat_messages(self, *, instruction: str, document: str) -> list[prompts.Message]:
        """The messages for the chat template, or for a server with the same template."""
        messages = prompts.chat(instruction=instruction, document=self._safe(document))
        return messages if self._system_role else prompts.without_system(messages)

    def completion(self, text: str) -> list[int]:
        """Token ids of an output with the end token."""
        return [*self._ids(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def text_with_special_tokens(self, ids: Sequence[int]) -> str:
        """The text of ids, with special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def count(self, text: str) -> int:
        """Tokens of a document, without a prompt around it."""
        return len(self._ids(self._safe(text)))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _safe(self, text: str) -> str:
        return prompts.escape_special_tokens(text, self.special_tokens)

    def _render(self, messages: list[prompts.Message], *, generate: bool = True) -> str:
        if not self._system_role:
            messages = prompts.without_system(messages)
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate))

    def _knows_system(self) -> bool:
        """Whether the template supports a system message; Gemma's raises, others drop it silently."""
        messages = prompts.chat(instruction="7c1d", document="x")
        try:
            return "7c1d" in self.tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:  # whatever a template raises
            return False

    def _find_end(self) -> int:
        """The token after an assistant message in the chat template, or the tokenizer's end of text."""
        eos: int | None = self.tokenizer.eos_token_id
        if self.style == "chat":
            turns = prompts.chat(instruction="a", document="b")
            prompt = self._render(turns)
            answered = self._render([*turns, prompts.Message(role="assistant", content="7c1d")], generate=False)
            tail = answered.rpartition("7c1d")[2]
            ids = self._ids(tail)
            if answered.startswith(prompt) and ids and ids[0] in self.tokenizer.all_special_ids:
                return ids[0]
        if eos is None:
            raise Refused("The model's tokenizer has no end token.", code="model")
        return eos


def _ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
