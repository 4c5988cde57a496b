"""Users who type at once at human speed over a slow network, and documents whose every field they fill by hand."""

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any

from playwright.sync_api import Page

from tests.contract.samples import object_schema

#: one hand: does something at each step and yields how many milliseconds pass before the next
Hand = Iterator[float]

_SLOW_NETWORK = """([seed, most]) => {
    // mulberry32: the same delays for the same seed
    let state = seed;
    const random = () => {
        state = (state + 0x6D2B79F5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const { fetch } = window;
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    window.fetch = async (...request) => {
        const total = random() * most;
        const there = random() * total;
        await pause(there);
        const answer = await fetch(...request);
        await pause(total - there);
        return answer;
    };
}"""


def slow_network(page: Page, seed: int, most: int = 800) -> None:
    """Delays each request of the page by up to ``most`` ms, part of it before and part after the server answers.

    Each request has its own delay, so answers come out of order.
    """
    page.evaluate(_SLOW_NETWORK, [seed, most])


def together(hands: list[Hand], page: Page) -> None:
    """Runs several hands at once until all have finished. ``page`` is any open page: it waits."""
    due = [(time.monotonic(), number) for number in range(len(hands))]
    while due:
        at, number = heapq.heappop(due)
        if (wait := at - time.monotonic()) > 0:
            page.wait_for_timeout(wait * 1000)
        pause = next(hands[number], None)
        if pause is not None:
            heapq.heappush(due, (time.monotonic() + pause / 1000, number))


def types(page: Page, text: str, delay: float) -> Hand:
    """Types a text, one key every ``delay`` ms."""
    for character in text:
        page.keyboard.type(character)
        yield delay


def presses(page: Page, *keys: str, delay: float) -> Hand:
    """Presses keys, one every ``delay`` ms."""
    for key in keys:
        page.keyboard.press(key)
        yield delay


class Rhythm:
    """A person's rhythm: 40 to 300 ms a key, another speed every few keys, now and then a pause."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.left, self.speed = 0, 0.0

    def __call__(self) -> float:
        """Milliseconds to the next key."""
        if not self.left:
            self.left, self.speed = self.random.randint(4, 25), 40 * 7.5 ** self.random.random()
        self.left -= 1
        pause = self.random.uniform(300, 1300) if self.random.random() < 0.02 else 0
        return min(300, max(40, self.speed * self.random.uniform(0.8, 1.2))) + pause


COUNTRIES = [
    "Austria",
    "Belgium",
    "Bulgaria",
    "Croatia",
    "Cyprus",
    "Denmark",
    "Estonia",
    "Finland",
    "France",
    "Germany",
]
KINDS = ["goods", "services", "rent"]
MARKS = ["paid", "late", "copy"]
_WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "hazel", "ivory", "jetty", "kayak", "larch"]
_TEXT: dict[str, Any] = {"type": "string", "maxLength": 60}
_DAY: dict[str, Any] = {"type": "string", "format": "date"}

#: every kind of control, in the order in which Tab visits them
SHEET = object_schema(
    {
        "number": _TEXT,
        "day": _DAY,
        "vendor": {"type": "string"},
        "amount": {"type": "number"},
        "kind": {"enum": KINDS},
        "country": {"enum": COUNTRIES},
        "paid": {"type": "boolean"},
        "marks": {"type": "array", "items": {"enum": MARKS}, "uniqueItems": True},
        "terms": {"type": ["string", "null"], "maxLength": 60},
        "rows": {
            "type": "array",
            "items": object_schema(
                {
                    "name": _TEXT,
                    "count": {"type": "integer"},
                    "price": {"type": "number"},
                    "day": _DAY,
                    "kind": {"enum": KINDS},
                    "country": {"enum": COUNTRIES},
                }
            ),
        },
        "words": {"type": "array", "items": _TEXT},
        "last": _TEXT,
    },
    required=["number"],
)

#: what stands in every control, by the path of its field
CONTROLS = """() => {
    const values = {};
    const walk = (node, path) => {
        const kind = node.dataset.node;
        const isInner = (below) => below.parentElement.closest("[data-node]") === node;
        const inner = [...node.querySelectorAll("[data-node]")].filter(isInner);
        if (kind === "leaf" || kind === "checks") {
            const controls = [...node.querySelectorAll("[data-control]")];
            const ticked = controls.filter(({ checked }) => checked).map(({ value }) => JSON.parse(value));
            const [first] = controls;
            if (kind === "checks") values[path] = ticked.join();
            else if (first.type === "radio") values[path] = String(ticked[0] ?? "");
            else values[path] = first.tagName === "SELECT" ? first.selectedOptions[0].text : first.value;
        } else if (kind === "table" || kind === "list") {
            inner.forEach((row, at) => walk(row, `${path}[${at}]`));
        } else {
            for (const field of inner) walk(field, path ? `${path}.${field.dataset.key}` : field.dataset.key);
        }
    };
    walk(document.querySelector("#form [data-node]"), "");
    return values;
}"""


@dataclass
class Sheet:
    """One document: its text, and what its hand leaves in the controls and in the stored value."""

    random: Random
    rows: int = 2
    words: int = 2
    lines: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)
    value: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, str, str]] = field(default_factory=list)  # way, text, more

    def __post_init__(self) -> None:
        for name in ("number", "day", "vendor", "amount"):
            self.value[name] = self._plan(name, name)
        self.value["kind"] = self._choice("kind", KINDS, "digit")
        self.value["country"] = self._choice("country", COUNTRIES, "search")
        self.value["paid"] = self._choice("paid", [True, False], "digit")
        self.value["marks"] = [self._choice("marks", MARKS, "tick")]
        self.value["terms"] = self._plan("terms", "terms")
        self.value["rows"] = [self._row(number) for number in range(self.rows)]
        self.value["words"] = [self._item(number) for number in range(self.words)]
        self.value["last"] = self._plan("last", "last")

    @property
    def text(self) -> str:
        """The document: each value that stands in it, on a line of its own."""
        return "\n".join(self.lines)

    def _row(self, number: int) -> dict[str, Any]:
        self.steps.append(("add", "Enter" if number == 0 else "Alt+r", ""))
        names = ("name", "count", "price", "day")
        row = {name: self._plan(f"rows[{number}].{name}", name, cell=True) for name in names}
        row["kind"] = self._choice(f"rows[{number}].kind", KINDS, "digit")
        row["country"] = self._choice(f"rows[{number}].country", COUNTRIES, "search")
        if self.random.random() < 0.5:
            self.steps.insert(-1, ("row", self.random.choice(("taken back", "deleted")), "5"))
        if number < self.rows - 1:
            self._stay("take")
        return row

    def _item(self, number: int) -> Any:
        self.steps.append(("add", "Enter" if number == 0 else "Alt+r", ""))
        value = self._plan(f"words[{number}]", "word")
        if number < self.words - 1:
            self._stay("stay")
        return value

    def _stay(self, how: str) -> None:
        """The next row is added from the field just filled."""
        way, text, more = self.steps.pop()
        self.steps.append((f"{way} {how}", text, more))

    def _choice(self, path: str, options: list[Any], way: str) -> Any:
        choice = self.random.choice(options)
        self.steps.append((way, str(options.index(choice) + 1) if way != "search" else str(choice), str(len(options))))
        self.shown[path] = {True: "true", False: "false"}.get(choice, choice) if way == "digit" else choice
        return choice

    def _plan(self, path: str, name: str, *, cell: bool = False) -> Any:
        text, value = self._value(name)
        ways = ["plain", "plain", "typo", "again"]
        if name == "name" or (not cell and name != "day"):
            ways += ["complete", "complete", "undo"]
        if name == "terms":
            ways.append("absent")
        way = self.random.choice(ways)
        if way in ("complete", "undo") or self.random.random() < 0.6:
            self.lines.append(text)
        elif self.random.random() < 0.5:
            way += " confirm"
        self.steps.append((way, text, ""))
        self.shown[path] = text
        return value

    def _value(self, name: str) -> tuple[str, Any]:
        random = self.random
        if name == "day":
            day = date(2020, 1, 13) + timedelta(days=random.randrange(2000))
            day = day.replace(day=random.randint(13, 28))
            forms = (f"{day:%m/%d/%Y}", f"{day:%Y-%m-%d}", f"{day:%b} {day.day}, {day.year}")
            return random.choice(forms), day.isoformat()
        if name in ("amount", "price"):
            number = random.randint(100_000, 99_999_999)
            return f"{number / 100:,.2f}", number / 100
        if name == "count":
            number = random.randint(1, 9999)
            return str(number), number
        words = " ".join(random.choices(_WORDS, k=random.randint(1, 2)))
        text = f"{random.choice('BCDFGHJKLM')}{random.choice('npqrstvwxz')}{random.randint(100, 999)}-{words}"
        return text, text


def fill(page: Page, sheet: Sheet, rhythm: Rhythm) -> Hand:
    """Fills the form from its first field to its last, by keys alone, looking at nothing."""
    for way, text, more in sheet.steps:
        way, *then = way.split()
        keys = _keys(way, text, more)
        if "confirm" in then:
            keys.append("Alt+y")
        if "take" in then:
            keys.append("Enter")
        elif way not in ("add", "row") and "stay" not in then:
            keys.append("Tab")
        for key in keys:
            page.keyboard.type(key) if len(key) == 1 else page.keyboard.press(key)
            yield rhythm()
    page.keyboard.press("Control+s")
    yield rhythm()


def _keys(way: str, text: str, more: str) -> list[str]:
    """What a person presses to fill a field in a way, or to add or duplicate a row; single characters are typed."""
    middle = len(text) // 2
    undone = ["Control+Shift+Backspace"] if text == "deleted" else ["Control+z", *["Tab"] * int(more or 0)]
    return {
        "add": [text],
        "row": ["Control+d", *undone],  # undo leads to the first cell of the row
        "plain": [*text],
        "typo": [*text[:middle], *"xq", "Backspace", "Backspace", *text[middle:]],
        "again": [*text[::-1], "Control+a", *text],
        "complete": [*text[:5], "End"],
        "undo": [*text[:5], "End", "Control+z", "Escape", *text[5:]],
        "absent": [*text, "Alt+0", "Control+z"],
        "digit": [text],
        # A digit ticks a box and goes to it; behind it are the other boxes.
        "tick": [text, *["Tab"] * (int(more) - int(text) if way == "tick" else 0)],
        "search": [*text[:4].lower()],
    }[way]
