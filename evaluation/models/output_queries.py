"""Named reads of outputs: the filters of their list."""

from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from django.db import models

from slmstudio.contract.json_text import JsonError, loads

if TYPE_CHECKING:
    from evaluation.models.runs import EvalOutput  # noqa: F401


def _json_values(word: str) -> list[Any]:
    """The JSON values that a word on a page can be: the text, and the number or boolean it spells."""
    if not word:
        return []
    try:
        value = loads(word)
    except JsonError:
        return [word]
    return [word, value] if isinstance(value, bool | int | Decimal) else [word]


class EvalOutputQuerySet(models.QuerySet["EvalOutput"]):
    """Named reads of outputs. All of them narrow a list, so they can be chained."""

    NO_DECISION = "(none)"

    def with_documents(self) -> Self:
        """With their documents, in the order of the dataset."""
        return self.select_related("document").order_by("document_id")

    def counts(self) -> dict[str, int]:
        """How many there are, ``n``, and how many of them are ``valid`` and ``exact``."""
        valid, exact = (models.Count("pk", filter=models.Q(**{name: True})) for name in ("valid", "exact"))
        return self.aggregate(n=models.Count("pk"), valid=valid, exact=exact)

    def in_state(self, state: str) -> Self:
        """``valid``, ``invalid``, ``exact``, ``inexact``, ``failed`` (no response), or with a problem of the whole:
        ``no_json``, ``missing_required`` (a required name is missing), ``extra_keys`` (an unknown name), ``rules`` (an
        invariant is violated), ``hallucinated`` (a value is hallucinated). Anything else: all.
        """
        filters: dict[str, dict[str, Any]] = {
            "valid": {"valid": True},
            "invalid": {"valid": False},
            "exact": {"exact": True},
            "inexact": {"exact": False},
            "failed": {"finish_reason": "error"},
            "no_json": {"score__contains": {"valid_json": False}},
            "missing_required": {"score__contains": {"required_present": False}},
            "extra_keys": {"score__contains": {"no_extra_keys": False}},
            "rules": {"score__contains": {"invariants_hold": False}},
            "hallucinated": {"score__contains": {"fields": [{"outcome": "hallucinated"}]}},
        }
        return self.filter(**filters.get(state, {}))

    def with_unreadable(self) -> Self:
        """With ``unread``: whether the output is unreadable, so every field of it is wrong."""
        unread = models.Q(score__contains={"valid_json": False}) | models.Q(
            score__contains={"fields": [{"outcome": "unscorable"}]}
        )
        # A valid output is readable; its long score is not parsed for it.
        flag = models.ExpressionWrapper(models.Q(valid=False) & unread, output_field=models.BooleanField())
        return self.annotate(unread=flag)

    def wrong_in(self, pattern: str) -> Self:
        """Where this field is wrong."""
        return self.filter(wrong_fields__contains=[pattern]) if pattern else self

    def with_outcome(self, pattern: str, outcome: str) -> Self:
        """Where this field ("": any) has this outcome: ``missing``, ``hallucinated`` and so on."""
        if not outcome:
            return self
        condition = {"outcome": outcome} | ({"field": pattern} if pattern else {})
        return self.filter(score__contains={"fields": [condition]})

    def with_error(self, kind: str) -> Self:
        """Where this error type occurs."""
        return self.filter(errors__contains=[kind]) if kind else self

    def tagged(self, tag: str) -> Self:
        """Of documents with this failure tag in the dataset version."""
        return self.filter(tags__contains=[tag]) if tag else self

    def confused_as(self, pattern: str, gold: str, predicted: str) -> Self:
        """Where the gold of this choice is ``gold`` and the output is ``predicted``, both as
        ``classes.label`` names them. Equal values: where the output is correct.

        "" is any. ``NO_DECISION``: of the output, absent, not allowed, or no valid output; of gold, absent.
        """
        if not pattern or not (gold or predicted):
            return self
        starts: list[dict[str, Any]] = [{"gold": value} for value in _json_values(gold)]
        ends: list[dict[str, Any]] = [{"output": value} for value in _json_values(predicted)]
        if gold == self.NO_DECISION:
            starts = [{"gold": None}]
        if predicted == self.NO_DECISION:
            ends = [{"outcome": "missing"}, {"outcome": "unscorable"}, {"error": "format"}]
        elif predicted == gold:
            ends = [{"outcome": "correct"}]  # they may differ in whitespace
        fits = models.Q()
        for start, end in product(starts or [{}], ends or [{}]):
            fits |= models.Q(score__contains={"fields": [{"field": pattern, **start, **end}]})
        return self.filter(fits)

    def where(self, place: str) -> Self:
        """Of documents whose metadata has this value, as ``key=value``."""
        key, equals, value = place.partition("=")
        if not equals:
            return self
        fits = models.Q()
        for reading in _json_values(value):
            fits |= models.Q(document__metadata__contains={key: reading})
        return self.filter(fits)

    def containing(self, text: str) -> Self:
        """Whose document id or raw output contains these characters."""
        if not text:
            return self
        return self.filter(models.Q(document__external_id__icontains=text) | models.Q(raw__icontains=text))
