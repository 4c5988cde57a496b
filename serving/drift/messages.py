"""What a drift check found, in words."""

from serving.drift.comparison import OTHER, Finding
from slmstudio.text.formatting import percent

PROBLEMS = {
    "no_reference": "The evaluation of this version has too few outputs for a comparison.",
    "too_few": "Too few documents were sent for a comparison.",
}


def title(metric: str) -> str:
    """What a metric is."""
    kind, _, name = metric.partition(" ")
    return {
        "length": "Document length",
        "language": "Document language",
        "null": f"{name} is null",
        "rows": f"Rows of {name}",
        "characters": f"Length of {name}",
        "value": f"Value of {name}",
        "confidence": f"Confidence of {name}",
    }.get(kind, metric)


def figures(one: Finding) -> tuple[str, str]:
    """Evaluation and live as text: medians, or shares of the category that changed most."""
    if one.kind == "share":
        return percent(one.reference), percent(one.live)
    return _number(one.reference), _number(one.live)


def sentence(one: Finding) -> str:
    """What changed."""
    before, after = figures(one)
    kind, _, name = one.metric.partition(" ")
    if kind == "null":
        return f"{name} is null in {after} of the outputs ({before} in the evaluation)."
    if one.kind == "share":
        what = "Other values" if one.category == OTHER else f"“{one.category}”"
        of = "the documents" if kind == "language" else f"the outputs ({name})"
        return f"{what}: {after} of {of} ({before} in the evaluation)."
    if one.reference == one.live:
        return f"{title(one.metric)}: different distribution with the same median, {before}."
    return f"{title(one.metric)}: median {after} ({before} in the evaluation)."


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
