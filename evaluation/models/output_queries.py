"""Reads of an evaluation's outputs: what a page's address can ask the list for."""

from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from django.db import models

from slmstudio.contract.json_text import JsonError, loads

if TYPE_CHECKING:
    from evaluation.models.runs import EvalOutput  # noqa: F401


def _readings(word: str) -> list[Any]:
    """What JSON value a word on a page may stand for: the text itself, and the number or truth it spells."""
    if not word:
        return []
    try:
        value = loads(word)
    except JsonError:
        return [word]
    return [word, value] if isinstance(value, bool | int | Decimal) else [word]


class EvalOutputQuerySet(models.QuerySet["EvalOutput"]):
    """Named reads of outputs; all of them narrow a list, so that a page can chain what its address asks for."""

    NO_DECISION = "(none)"

    def with_documents(self) -> Self:
        """With their documents, in the order of the dataset."""
        return self.select_related("document").order_by("document_id")

    def in_state(self, state: str) -> Self:
        """``valid``, ``invalid``, ``exact``, ``inexact``, ``failed`` (nothing came back), or where something is amiss
        with the whole: ``no_json``, ``lacks`` (a required name), ``more`` (a name that is not asked for), ``rules``
        (one between fields is broken), ``made_up`` (a value stands nowhere). Anything else: all.
        """
        filters: dict[str, dict[str, Any]] = {
            "valid": {"valid": True},
            "invalid": {"valid": False},
            "exact": {"exact": True},
            "inexact": {"exact": False},
            "failed": {"finish_reason": "error"},
            "no_json": {"score__contains": {"valid_json": False}},
            "lacks": {"score__contains": {"required_present": False}},
            "more": {"score__contains": {"no_extra_keys": False}},
            "rules": {"score__contains": {"invariants_hold": False}},
            "made_up": {"score__contains": {"fields": [{"outcome": "hallucinated"}]}},
        }
        return self.filter(**filters.get(state, {}))

    def telling_unread(self) -> Self:
        """With ``unread``: whether the output could not be read at all, so that every field of it is wrong."""
        unread = models.Q(score__contains={"valid_json": False}) | models.Q(
            score__contains={"fields": [{"outcome": "unscorable"}]}
        )
        # What is valid was read, and its score need not be looked into.
        told = models.ExpressionWrapper(models.Q(valid=False) & unread, output_field=models.BooleanField())
        return self.annotate(unread=told)

    def wrong_in(self, pattern: str) -> Self:
        """Where this field is not right."""
        return self.filter(wrong_fields__contains=[pattern]) if pattern else self

    def with_outcome(self, pattern: str, outcome: str) -> Self:
        """Where this field, with "" any, came out like this: ``missing``, ``hallucinated`` and so on."""
        if not outcome:
            return self
        wanted = {"outcome": outcome} | ({"field": pattern} if pattern else {})
        return self.filter(score__contains={"fields": [wanted]})

    def with_error(self, kind: str) -> Self:
        """Where this kind of error occurs."""
        return self.filter(errors__contains=[kind]) if kind else self

    def tagged(self, tag: str) -> Self:
        """Of documents that had this failure tag when the dataset was frozen."""
        return self.filter(tags__contains=[tag]) if tag else self

    def confused(self, pattern: str, gold: str, said: str) -> Self:
        """Where this choice is ``gold`` and was taken for ``said``, both as ``classes.label`` names them. The same
        twice: where it was made rightly.

        "" is any; ``NO_DECISION`` is, of what was said, what is absent, not allowed or in no valid output, and of gold
        that there is none.
        """
        if not pattern or not (gold or said):
            return self
        starts: list[dict[str, Any]] = [{"gold": value} for value in _readings(gold)]
        ends: list[dict[str, Any]] = [{"output": value} for value in _readings(said)]
        if gold == self.NO_DECISION:
            starts = [{"gold": None}]
        if said == self.NO_DECISION:
            ends = [{"outcome": "missing"}, {"outcome": "unscorable"}, {"error": "format"}]
        elif said == gold:
            ends = [{"outcome": "correct"}]  # the two may differ in blanks
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
        for reading in _readings(value):
            fits |= models.Q(document__metadata__contains={key: reading})
        return self.filter(fits)

    def holding(self, text: str) -> Self:
        """Whose document id or raw output contains these characters."""
        if not text:
            return self
        return self.filter(models.Q(document__external_id__icontains=text) | models.Q(raw__icontains=text))
