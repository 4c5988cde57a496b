"""A gate report as a copy to keep: the account of it as the parts of a printed report, and the files made of them."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.timezone import localtime

from evaluation.approvals.evidence import Money, Through
from evaluation.approvals.report import Account
from evaluation.comparison.error_cost import Amount
from evaluation.gates.display import bounds, level, line_of, measured, threshold
from evaluation.printed import Facts, Gates, Heading, Judged, Part, Points, Printed, Say, Table, as_markdown
from evaluation.templatetags.gating import cash, cash_range, slice_words
from slmstudio.templatetags.studio import percent

#: has nearly every letter there is; of those of the first font it is never asked
SECOND_FONT = "node_modules/@fontsource/unifontex/files/unifontex-latin-400-normal.woff"
#: of the table of hashes, in millimetres; 64 letters take 98 with the figures and letters of most hashes, and 106 with
#: those of one in a million: a hash that is cut over two lines is no longer found in the file
HASHES_WIDE = (30, 112, 32)
LEGEND = "The line: pale green where the gate passes, grey the bounds, dark what was measured, green the threshold."


def markdown(account: Account, *, address: str, by: Any, at: datetime) -> str:
    """The report as Markdown."""
    return as_markdown(printed(account, address=address, by=by, at=at))


def pdf(account: Account, *, address: str, by: Any, at: datetime) -> bytes:
    """The report as PDF. About half a second, and another one where letters of a second font are in it."""
    from evaluation.printed_pdf import as_pdf  # what draws it takes a moment to load, and no page needs it

    second = Path(settings.BASE_DIR) / SECOND_FONT
    return as_pdf(printed(account, address=address, by=by, at=at), made=at, second_font=second)


def printed(account: Account, *, address: str, by: Any, at: datetime) -> Printed:
    """What a report says, at this moment, for whoever keeps a copy. ``address``: where the page is."""
    report = account.report
    name = f"Gate report {report.number}"
    return Printed(
        title=f"{name}: {report.project.name}",
        foot=f"{name} as it stood on {moment(at)}, kept by {by.get_username()}. {address}",
        parts=tuple(_parts(account)),
    )


def moment(when: datetime | None) -> str:
    """A moment in the viewer's zone, named."""
    return f"{localtime(when):%Y-%m-%d %H:%M %Z}" if when is not None else "–"


def _parts(account: Account) -> Iterator[Part]:
    report, run = account.report, account.run
    yield Say(report.sentence, "good" if report.passed else "bad")
    yield from _standing(account)
    against = f", compared with {report.baseline.short_name}" if report.baseline else ""
    yield Say(
        f"{run.subject} on {account.origins['documents']} held-out documents of {run.dataset}, "
        f"{run.get_mode_display()}{against}."
    )
    if account.origins["others"]:
        yield Say(_origins(account.origins), "warn")
    for caution in account.cautions:
        yield Say(caution, "warn")
    yield Heading("Gates")
    yield Gates(tuple(_judged(verdict) for verdict in account.verdicts), LEGEND)
    if account.confidences:
        yield Say(f"Confidence of the one-sided bounds: {account.confidences}.", "quiet")
    yield Heading("What gets worse")
    yield from _worse(account)
    if account.pins.words:
        yield Say(account.pins.words)
    yield from _money(account.money)
    yield from _automation(account.automation)
    yield Heading("Looks at this hold-out")
    yield Say(_looks(account))
    yield Heading("Decision")
    yield from _decision(account)
    yield Heading("Who did what")
    yield Points(tuple(f"{_name(deed.who)} {deed.what}, {moment(deed.when)}" for deed in account.history))
    yield Heading("Packet")
    yield from _packet(account)


def _name(person: Any) -> str:
    return str(person.get_username()) if person is not None else "the application"


def _standing(account: Account) -> Iterator[Part]:
    if account.void:
        yield Say("The approval is void.", "bad")
        yield Points(tuple(account.reasons))
    elif account.approval is None and account.reasons:
        yield Say("Something changed since this was judged, so it can no longer be approved.", "bad")
        yield Points(tuple(account.reasons))
    elif account.approval is None:
        yield Say("It waits for a decision.", "warn")
    else:
        words = f"{account.state[1].capitalize()} by {_name(account.approval.decided_by)}"
        yield Say(f"{words}, {moment(account.approval.decided_at)}.", "strong")


def _origins(origins: dict[str, Any]) -> str:
    many, human = origins["documents"], origins["human"]
    first = f"Only {human} of {many}" if human else f"None of the {many}"
    verb = "has" if human == 1 else "have"
    others = ", ".join(f"{count} {'is' if count == 1 else 'are'} {name}" for name, count in origins["others"])
    return (
        f"{first} hold-out documents {verb} gold made by people. {others}. The verdicts hold for documents and labels "
        "like these; whether people agree with them is not shown."
    )


def _judged(verdict: dict[str, Any]) -> Judged:
    gate = verdict["gate"]
    return Judged(
        title=f"{gate['title']} ({slice_words(gate['slice'])})" if gate["slice"] else gate["title"],
        asked=threshold(verdict),
        measured=measured(verdict) if verdict["measured"] is not None else "not measured",
        bounds=bounds(verdict) if verdict["measured"] is not None else "",
        status=verdict["status"],
        words=verdict["words"][:1].upper() + verdict["words"][1:],
        price=verdict["price"][:1].upper() + verdict["price"][1:],
        line=line_of(verdict),
    )


def _worse(account: Account) -> Iterator[Part]:
    worse = account.worse
    if worse is None:
        yield Say("It was held against nothing, so nothing can be said about getting worse.", "quiet")
        return
    broken = f"{worse['broken']} of {worse['n']} documents that were right are wrong now"
    if not worse["broken"]:
        broken = "No document that was right is wrong now"
    yield Say(f"{broken}; {worse['fixed']} {'was' if worse['fixed'] == 1 else 'were'} mended.")
    rows = [
        (row["field"], f"{row['n']}", percent(row["a"]), percent(row["b"]), luck(row["sure"]))
        for row in worse["fields"]
    ]
    rows += [
        (row["words"], f"{row['n']}", percent(row["a"]["rate"]), percent(row["b"]["rate"]), luck(row["sure"]))
        for row in worse["slices"]
    ]
    if not rows:
        yield Say("No field and no slice is worse than before.", "quiet")
        return
    head = ("Field or slice", "Documents", "Before", "Now", "By luck?")
    yield Table(head, tuple(rows), right=frozenset({1, 2, 3}), wide=(6, 3, 3, 3, 4))
    if worse["more"]:
        yield Say(f"{worse['more']} more fields and slices are worse by less.", "quiet")


def luck(sure: bool) -> str:
    """Whether a fall may be luck, in words."""
    return "more than luck" if sure else "may be luck"


def _money(money: Money | None) -> Iterator[Part]:
    if money is None:
        return
    volume = f"{money.volume:,.0f} documents"
    yield Heading(
        f"What errors cost ({f'{money.currency}, ' if money.currency else ''}{volume}{' a month' * money.monthly})"
    )
    if money.difference is not None:
        yield Say(
            f"{money.sentence}: {_amount(money.difference)} against {money.incumbent_name}, on the same "
            f"{money.costs.documents} documents."
        )
    head: tuple[str, ...] = ("Cost", money.candidate_name)
    if money.incumbent_name:
        head = (*head, money.incumbent_name)
    rows = [
        (line.words[:1].upper() + line.words[1:], _amount(line.candidate), _amount(line.incumbent))
        for line in money.lines
    ]
    yield Table(head, tuple(row[: len(head)] for row in rows), right=frozenset({1, 2}), wide=(5, 4, 4)[: len(head)])


def _amount(amount: Amount | None) -> str:
    """An amount with its interval."""
    between = cash_range(amount)
    value = cash(amount.value if amount is not None else None)
    return f"{value} ({between})" if between else value


def _automation(through: Through) -> Iterator[Part]:
    if not through.known or through.found is None:
        return
    yield Heading("Straight through")
    best = through.best
    if best is None:
        yield Say(
            f"Of no share of the surest documents the {through.found.documents} here prove that at most "
            f"{percent(through.limit)} are wrong, at {level(through.found.confidence)}. Everything is for people."
        )
        return
    wrong = f"{best.wrong} of them {'is' if best.wrong == 1 else 'are'} wrong"
    yield Say(
        f"{percent(best.share, 0)} of documents can go straight through: the {best.documents} whose least sure field "
        f"has a probability of {percent(best.threshold)} or more. {wrong}, which shows at most {percent(best.bound)}; "
        f"allowed are {percent(through.limit)}. At {level(through.found.confidence)}, which this look has, over "
        "ten shares together."
    )


def _looks(account: Account) -> str:
    earlier = ", ".join(f"report {other.number}" for other in account.looks)
    many = account.evaluations
    return (
        f"This is look {account.report.look}{f', after {earlier}' if earlier else ''}. "
        f"{many} evaluation{'' if many == 1 else 's'} {'has' if many == 1 else 'have'} answered documents of it."
    )


def _decision(account: Account) -> Iterator[Part]:
    approval = account.approval
    if approval is None:
        yield Say("None yet.", "quiet")
        return
    rows = [
        ("Decision", str(approval.get_decision_display())),
        ("By", _name(approval.decided_by)),
        ("When", moment(approval.decided_at)),
        ("Because", approval.reason),
    ]
    if account.alone:
        rows.append(("Four eyes", f"off: {_name(approval.decided_by)} started {account.alone} as well"))
    else:
        rows.append(("Four eyes", "on" if account.four_eyes else "off"))
    if account.fresh_role:
        rows.append(("New manager", account.fresh_role))
    yield Facts(tuple(rows))
    for titles, one in account.waived:
        yield Facts(
            (
                ("Waived", "; ".join(titles)),
                ("Why all the same", one.reason),
                ("Owner and last day", f"{one.owner}, {one.expires.isoformat()}"),
            )
        )


def _packet(account: Account) -> Iterator[Part]:
    approval = account.approval
    if approval is not None:
        yield Say(f"The decision rests on the packet with the hash {approval.packet_sha256}.")
    rows = [
        (check.title, check.frozen, "equal" if check.equal else (check.problem or f"now {check.now[:12]}"))
        for check in account.checks
    ]
    yield Table(("Part", "Hash (SHA-256)", "Now"), tuple(rows), wide=HASHES_WIDE)
    yield Say("Files that nobody touched since are taken at the word of their rows.", "quiet")
