"""A comparison of two runs, or a matrix of several, as a Markdown file."""

from collections.abc import Mapping
from typing import Any

from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.web.markdown import render_markdown

#: broken documents listed by name
LISTED = 50
_READINGS = {
    "better": "better",
    "worse": "worse",
    "luck": "not significantly different",
    "same": "the same",
    "unjudged": "no verdict",
}


def comparison_markdown(report: Mapping[str, Any]) -> str:
    """``report``: JSON-ready data of ``evaluation.comparison.report``, of two runs or a matrix of several."""
    if "pairs" in report:
        pairs = [{**pair, "reading": _READINGS[pair["reading"]]} for pair in report["pairs"]]
        any_pinned = any(one["right"] or one["broken"] or one["unchecked"] for one in report["pinned"])
        return render_markdown("evaluation/comparison/matrix.md", {**report, "pairs": pairs, "any_pinned": any_pinned})
    errors = sorted(report["errors"].items(), key=lambda pair: (-pair[1]["fields_b"], pair[0]))
    broken = [case for case in report["cases"] if case["state"] == "broken"]
    context = {
        **report,
        "errors": [(ERROR_LABELS.get(kind, kind), counts) for kind, counts in errors],
        "broken": broken[:LISTED],
        "more_broken": max(0, len(broken) - LISTED),
        "pinned_broken": report["pinned"]["broken"][:LISTED],
    }
    return render_markdown("evaluation/comparison/comparison.md", context)
