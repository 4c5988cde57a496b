"""Which changes of a comparison are regressions. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.stats import holm
from slmstudio.text.formatting import first_names, percent

SIGNIFICANCE_LEVEL = 0.05
#: the measures of a comparison as its tables name them
TITLES = {
    "schema_valid": "Schema-valid",
    "field_exact": "Field accuracy",
    "document_exact": "Exact match",
    "hallucinated": "Documents with hallucinated values",
}
_REGRESSION_TITLES = {
    "schema_valid": "Fewer outputs are schema-valid",
    "document_exact": "Fewer documents are an exact match",
    "hallucinated": "More documents have hallucinated values",
}
_IMPROVEMENT_PHRASES = {
    "schema_valid": "more outputs are schema-valid",
    "field_exact": "field accuracy improved in more documents than it dropped",
    "document_exact": "more documents are an exact match",
    "hallucinated": "fewer documents have hallucinated values",
}


def shared_gold_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result over documents with the same gold in both runs, which the verdict uses."""
    compared: Mapping[str, Any] = result.get("judged") or result
    return compared


def sample_note(result: Mapping[str, Any]) -> str:
    """A sentence about the documents that the verdict uses; "" where these are all."""
    compared = shared_gold_result(result)
    if compared["n"] == result["n"]:
        return ""
    if not compared["n"]:
        return "No document has the same gold in both runs, so there is no verdict."
    return f"Based on the {compared['n']:,} of {result['n']:,} documents with the same gold in both runs."


def regressions(result: Mapping[str, Any], broken_pins: Sequence[str] = (), *, any_document: bool = False) -> list[str]:
    """Why B must not replace A, one sentence each; empty if there is no regression.

    ``result`` is that of a comparison; ``broken_pins``: the pinned documents that B has wrong, whatever A has.
    Figures and fields count where they are worse at 5%, each family after Holm. A change that small numbers cannot
    tell apart is no proof of a regression, nor of its absence; with ``any_document`` every broken document counts.
    """
    result = shared_gold_result(result)
    sentences = []
    if broken_pins:
        sentences.append(f"{_count(len(broken_pins), 'pinned document')} wrong: {first_names(broken_pins)}.")
    for measure, p_value in _adjusted(result):
        if measure["worse"] > measure["better"] and p_value < SIGNIFICANCE_LEVEL:
            sentences.append(_loss(measure, p_value))
    for field in result["fields"]:
        if field["broken"] > field["fixed"] and field["p_adjusted"] < SIGNIFICANCE_LEVEL:
            sentences.append(
                f"{field['field']} is correct in {field['b_right']:,} of {field['n']:,} documents instead of "
                f"{field['a_right']:,}, p {_p(field['p_adjusted'])} (Holm)."
            )
    if any_document and result["broken"]:
        sentences.append(f"{_count(len(result['broken']), 'document')} regressed: {first_names(result['broken'])}.")
    return sentences


def improvements(result: Mapping[str, Any]) -> list[str]:
    """In what B is better by significant, one phrase each."""
    return [
        _IMPROVEMENT_PHRASES.get(measure["name"], measure["name"])
        for measure, p_value in _adjusted(shared_gold_result(result))
        if measure["better"] > measure["worse"] and p_value < SIGNIFICANCE_LEVEL
    ]


def measures(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measures of a comparison with the one p-value that is shown for them: ``p_adjusted``, after Holm over all of
    them, on the documents that the verdict uses; None if there is no verdict."""
    basis = shared_gold_result(result)
    adjusted = {measure["name"]: p_value for measure, p_value in _adjusted(basis)} if basis["n"] else {}
    return [_with_adjusted(measure, adjusted.get(measure["name"])) for measure in result["measures"]]


def fields(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of a comparison with their ``p_adjusted`` as in ``measures``, after Holm over all fields."""
    basis = shared_gold_result(result)
    adjusted = {row["field"]: row["p_adjusted"] for row in basis["fields"]} if basis["n"] else {}
    return [_with_adjusted(row, adjusted.get(row["field"])) for row in result["fields"]]


def document_p(result: Mapping[str, Any]) -> float | None:
    """The p-value of fixed against broken documents, as in ``measures``."""
    p_values = {measure["name"]: measure["p_adjusted"] for measure in measures(result)}
    value = p_values.get("document_exact")
    return None if value is None else float(value)


def _with_adjusted(row: Mapping[str, Any], p_adjusted: Any) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name != "p_value"}
    return {**plain, "p_adjusted": None if p_adjusted is None else float(p_adjusted)}


def _adjusted(result: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], float]]:
    """Each measure with its p-value after Holm over all of them."""
    measures = result["measures"]
    return list(zip(measures, holm([float(measure["p_value"]) for measure in measures]), strict=True))


def _loss(measure: Mapping[str, Any], p_value: float) -> str:
    rates = f"{_percent(measure['a'])} to {_percent(measure['b'])}"
    p_text = f"p {_p(p_value)} over documents (Holm)"
    title = _REGRESSION_TITLES.get(measure["name"])
    if title is not None:
        return f"{title}: {rates}, {p_text}."
    # The test counts documents, the rate counts fields, and a document with many fields weighs more in the rate.
    return (
        f"{TITLES.get(measure['name'], measure['name'])}: more documents are worse ({measure['worse']:,}) than better "
        f"({measure['better']:,}), {p_text}; field accuracy {rates}."
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _percent(value: Mapping[str, Any]) -> str:
    return percent(value["rate"])


def _p(value: Any) -> str:
    return "< 0.001" if value < 0.001 else f"= {float(value):.3f}"
