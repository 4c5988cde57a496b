"""What in a comparison is a regression: what must never break and did, what is worse by more than luck. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

LEVEL = 0.05
_TITLES = {
    "schema_valid": "Fewer outputs are schema-valid",
    "field_exact": "Fewer fields are right",
    "document_exact": "Fewer documents are wholly right",
    "hallucinated": "More documents have something made up",
}


_GAINS = {
    "schema_valid": "more outputs are schema-valid",
    "field_exact": "more fields are right",
    "document_exact": "more documents are wholly right",
    "hallucinated": "fewer documents have something made up",
}


def regressions(result: Mapping[str, Any], broken_pins: Sequence[str] = (), *, any_document: bool = False) -> list[str]:
    """Why B must not take the place of A, one sentence each; empty where nothing says so.

    ``result`` is that of a comparison, ``broken_pins`` the pinned documents that B has wrong, whatever A made of them.
    Figures and fields count where they are worse at 5 % (fields after Holm). A change that small numbers cannot tell
    from luck is no proof of a regression, nor of its absence; with ``any_document`` every broken document counts.
    """
    found = []
    if broken_pins:
        found.append(f"{_count(len(broken_pins), 'pinned document')} broken: {_some(broken_pins)}.")
    for measure in result["measures"]:
        if measure["worse"] > measure["better"] and measure["p_value"] < LEVEL:
            title = _TITLES.get(measure["name"], measure["name"])
            rates = f"{_percent(measure['a'])} to {_percent(measure['b'])}"
            found.append(f"{title}: {rates}, p {_p(measure['p_value'])} over documents.")
    for field in result["fields"]:
        if field["broken"] > field["fixed"] and field["p_adjusted"] < LEVEL:
            found.append(
                f"{field['field']} is right in {field['b_right']:,} of {field['n']:,} documents instead of "
                f"{field['a_right']:,}, p {_p(field['p_adjusted'])} after Holm."
            )
    if any_document and result["broken"]:
        found.append(f"{_count(len(result['broken']), 'document')} broken: {_some(result['broken'])}.")
    return found


def gains(result: Mapping[str, Any]) -> list[str]:
    """In what B is better by more than luck, one phrase each."""
    found = []
    for measure in result["measures"]:
        if measure["better"] > measure["worse"] and measure["p_value"] < LEVEL:
            found.append(_GAINS.get(measure["name"], measure["name"]))
    return found


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _some(names: Sequence[str], most: int = 5) -> str:
    """The first few names."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _percent(value: Mapping[str, Any]) -> str:
    return "–" if value["rate"] is None else f"{100 * float(value['rate']):.1f} %"


def _p(value: Any) -> str:
    return "< 0.001" if value < 0.001 else f"= {float(value):.3f}"
