"""A comparison as Markdown, to keep beside the code or in a ticket. Pure: reports of ``comparison_reports`` in.

Names and values come from documents and models, so everything is escaped: a document called ``|<script>`` stays a name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slmstudio.contract.scoring.scorer import ERRORS

MOST = 50
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$]|^[-+])")


def escaped(value: Any) -> str:
    """Text that Markdown takes for text, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def comparison_markdown(report: Mapping[str, Any]) -> str:
    """Two runs: verdict, figures, fields, failure modes, errors, pinned documents, and the documents that broke."""
    a, b = report["a"], report["b"]
    parts = [
        f"# {_name(b)} against {_name(a)}",
        f"Project {escaped(report['project'])}, {report['documents']:,} documents. A is {_name(a)}, B is {_name(b)}.",
        *[f"> {escaped(note)}" for note in report["notes"]],
        _verdict(report["regressions"], report["gains"], report["judged"]),
        escaped(report["basis"]),
        _documents(report),
        "## Figures",
        _figures(report),
        "## Fields",
        _table(
            ("Field", "n", "A right", "B right", "Broken", "Fixed", "p after Holm"),
            [
                (
                    f"`{_code(row['field'])}`", row["n"], _share(row["a_right"], row["n"]),
                    _share(row["b_right"], row["n"]), row["broken"], row["fixed"], _p(row["p_adjusted"]),
                )
                for row in report["fields"]
            ],
        ),
        *_modes(report["failure_modes"]),
        *_errors(report["errors"]),
        *_pinned(report["pinned"]),
        *_broken(report["cases"]),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def matrix_markdown(report: Mapping[str, Any]) -> str:
    """Several runs: rates, pairs, fields."""
    runs = report["runs"]
    head = ("", *(f"#{run['number']}" for run in runs))
    beside = report["today"]
    wide = (*head, f"Today: {escaped(beside['model'])}") if beside else head
    rows = [("Documents wholly right", *map(_rate, report["document_exact"]))]
    rows += [(escaped(line["title"]), *map(_rate, line["values"])) for line in report["own_rates"]]
    rows += [(escaped(line["title"]), *map(escaped, line["values"])) for line in report["figures"]]
    if any(sum(one.values()) for one in report["pinned"]):
        counts = (f"{one['right']} of {one['right'] + one['broken']}" for one in report["pinned"])
        rows.append(("Pinned documents right", *counts, *([""] if beside else [])))
    pairs = [
        (
            f"#{one['a']}", f"#{one['b']}", one["fixed"], one["broken"],
            _p(one["p_adjusted"]) if report["judged"] else "–", _READING[one["reading"]],
        )
        for one in report["pairs"]
    ]  # fmt: skip
    parts = [
        f"# {len(runs)} evaluations of {escaped(report['project'])}",
        "\n".join(f"- #{run['number']}: {escaped(run['model'])}, {escaped(run['mode'])}" for run in runs),
        *[f"> {escaped(note)}" for note in report["notes"]],
        _lead(report),
        _table(wide, rows),
        "## Pairs",
        _table(("A", "B", "Fixed", "Broken", "p after Holm", "B is"), pairs),
        "## Fields",
        _table(head, [(f"`{_code(row['field'])}`", *map(_rate, row["values"])) for row in report["fields"]]),
    ]
    return "\n\n".join(parts) + "\n"


_READING = {
    "better": "better",
    "worse": "worse",
    "luck": "could be luck",
    "same": "the same",
    "unjudged": "not judged",
}


def _lead(report: Mapping[str, Any]) -> str:
    """How many documents several runs are held against each other on, and which of them none beats."""
    documents = f"{report['documents']:,} documents"
    if report["judged"] < report["documents"]:
        documents += f", {report['judged']:,} of them with one gold"
    if not report["judged"]:
        return f"{documents}. Nothing is said about which is best."
    best = ", ".join(f"#{number}" for number in report["best"])
    return f"{documents}. Proven to be beaten by none: {best}."


def _name(run: Mapping[str, Any]) -> str:
    return f"evaluation {run['number']} ({escaped(run['model'])}, {escaped(run['mode'])})"


def _code(name: str) -> str:
    """A name inside back quotes: a table ends a cell at a bar even there."""
    return " ".join(str(name).split()).replace("`", "'").replace("|", "\\|")


def _verdict(regressions: Sequence[str], gains: Sequence[str], judged: int) -> str:
    better = f"By more than luck {', '.join(gains)}." if gains else ""
    if regressions:
        reasons = "\n".join(f"- {escaped(one)}" for one in regressions)
        return "\n\n".join(["**B is a regression.**", reasons, *([better] if better else [])])
    if better:
        return f"**B is better, and no regression is proven.** {better}"
    if not judged:
        return "**Nothing could be judged.**"
    return "**No regression is proven.** That small numbers show none does not prove there is none."


def _documents(report: Mapping[str, Any]) -> str:
    counts = report["counts"]
    return (
        f"Documents: {counts['broken']} broken, {counts['fixed']} fixed, {counts['still_wrong']} still wrong, "
        f"{counts['still_right']} still right (exact McNemar, p {_p(report['p_adjusted'])} after Holm)."
    )


def _figures(report: Mapping[str, Any]) -> str:
    beside = report["today"]
    head = ["", "A", "B", "Change"] + ([f"Today: {escaped(beside['model'])}"] if beside else [])
    rows: list[Sequence[Any]] = []
    for one in report["rates"]:
        a, b, *more = map(_rate, one["values"])
        rows.append([one["title"], a, b, _change(one), *more])
    for line in report["figures"]:
        a, b, *more = map(escaped, line["values"])
        rows.append([escaped(line["title"]), a, b, line["change"], *more])
    rows += [
        [escaped(row["name"]), escaped(row["a"]), escaped(row["b"]), "", *([escaped(row["today"])] if beside else [])]
        for row in report["differences"]
    ]
    return _table(head, rows)


def _change(rate: Mapping[str, Any]) -> str:
    change = f"{100 * float(rate['change']):+.1f} points"
    luck = f"p {_p(rate['p_adjusted'])} after Holm"
    if rate["mixed"]:
        return f"{change}, but {rate['worse']:,} documents worse and {rate['better']:,} better, {luck}"
    return f"{change}, {luck}"


def _modes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "## Failure modes",
        _table(
            ("Slice", "n", "A, fields right", "B, fields right", "Broken", "Fixed", "p after Benjamini-Hochberg"),
            [
                (
                    escaped(f"{row['key']}: {row['value']}" if row["key"] else row["value"].replace("_", " ")),
                    row["n"], _rate(row["a"]), _rate(row["b"]), row["broken"], row["fixed"], _p(row["p_adjusted"]),
                )
                for row in rows
            ],
        ),
    ]  # fmt: skip


def _errors(errors: Mapping[str, Mapping[str, int]]) -> list[str]:
    if not errors:
        return []
    rows = sorted(errors.items(), key=lambda pair: (-pair[1]["fields_b"], pair[0]))
    return [
        "## Errors",
        _table(
            ("Kind", "Fields, A", "Fields, B", "Documents, A", "Documents, B"),
            [(ERRORS.get(kind, escaped(kind)), *counts.values()) for kind, counts in rows],
        ),
    ]


def _pinned(found: Mapping[str, Any]) -> list[str]:
    if not found["pinned"]:
        return []
    b = found["b"]
    said = (
        f"{b['right']} of {b['right'] + b['broken']} pinned documents right, {b['unchecked']} not among the documents."
    )
    names = "\n".join(f"- {escaped(name)}" for name in found["broken"][:MOST])
    return ["## Pinned documents", said, *([f"Broken:\n\n{names}"] if names else [])]


def _broken(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    broken = [case for case in cases if case["state"] == "broken"]
    if not broken:
        return []
    rows = [
        (
            escaped(case["id"]),
            ", ".join(f"`{_code(name)}`" for name, state in case["fields"].items() if state == "broken"),
        )
        for case in broken[:MOST]
    ]
    more = [f"And {len(broken) - MOST:,} more."] if len(broken) > MOST else []
    return ["## Broken documents", _table(("Document", "Broken fields"), rows), *more]


def _table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _rate(value: Mapping[str, Any] | None) -> str:
    if not value or not value.get("n"):
        return "–"
    if value.get("low") is None:
        return f"{100 * float(value['rate']):.1f} %"
    low, high = (100 * float(value[end]) for end in ("low", "high"))
    return f"{100 * float(value['rate']):.1f} % ({low:.1f} to {high:.1f})"


def _share(k: int, n: int) -> str:
    return f"{100 * k / n:.1f} %" if n else "–"


def _p(value: Any) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{float(value):.3f}"
