"""Form nodes bound to entries, for the templates in ``labeling/form/nodes/``."""

from dataclasses import dataclass, field
from typing import Any

from labeling.form.codec import ABSENT, entry_form, raw_text
from labeling.form.nodes import MORE, VALUE, FormNode
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.contract.schema.structure import join


@dataclass(slots=True)
class Bound:
    """A node with its entry (see ``labeling.form.codec``).

    ``forms``: of a place that takes one of several forms, those that are drawn: the one it has (read-only), or all, as
    templates or for a preview.
    """

    node: FormNode
    path: str
    entry: Any
    read_only: bool
    row: int | None = None
    children: list["Bound"] = field(default_factory=list)
    rows: list["Bound"] = field(default_factory=list)
    forms: list["Bound"] = field(default_factory=list)
    messages: list[ValueProblem] = field(default_factory=list)
    blank: "Bound | None" = None
    scope: str = ""
    preview: bool = False
    number: int = 0

    @property
    def is_row(self) -> bool:
        """Whether it is a row of an array. The blank template row has number 0."""
        return self.row is not None

    @property
    def bare(self) -> bool:
        """Whether it is drawn without its name: a row, or one of several forms."""
        return self.row is not None or self.number > 0

    @property
    def step(self) -> str:
        """Its name in the parent's entry."""
        return VALUE if self.number else self.node.key

    @property
    def is_name(self) -> bool:
        """Whether it is the name in a row of a map."""
        return self.node.key == "key" and not self.node.pattern

    @property
    def choices(self) -> dict[str, list[tuple[str, str, str]]]:
        """The long lists of choices in a form, by the name that fields refer to."""
        return {
            node.listed: [(option.code, option.label, option.note) for option in node.options]
            for node in self.node.nodes()
            if node.listed
        }

    @property
    def template(self) -> str:
        """The partial that draws it."""
        leaf = self.node.is_leaf and self.node.shape != "checks"
        return f"labeling/form/nodes/{'leaf' if leaf else self.node.shape}.html"

    @property
    def control(self) -> str:
        """The partial of a leaf's control."""
        shape = self.node.shape
        return f"labeling/form/nodes/{'text' if shape in ('number', 'date') else shape}.html"

    @property
    def identifier(self) -> str:
        """An HTML id; unique in a form."""
        return f"f-{self.scope}{self.path}" if self.path else f"f{self.scope}"

    @property
    def state(self) -> str:
        """One of absent, null, raw (a value this control cannot show, as JSON) and value."""
        if self.entry is ABSENT:
            return "absent"
        if self.entry is None:
            return "null"
        return "value" if raw_text(self.entry) is None else "raw"

    @property
    def text(self) -> str:
        """The content of a text control."""
        if self.entry is ABSENT or self.entry is None:
            return ""
        raw = raw_text(self.entry)
        if raw is not None:
            return raw
        return self.entry if isinstance(self.entry, str) else ""

    @property
    def label(self) -> str:
        """The text of a choice, a boolean or a text in a read-only form."""
        if isinstance(self.entry, bool):
            return "yes" if self.entry else "no"
        return next((option.label for option in self.node.options if option.code == self.entry), self.text)

    @property
    def codes(self) -> list[str]:
        """The selected codes: one, or several of a ``checks`` node."""
        if isinstance(self.entry, list):
            return [code for code in self.entry if isinstance(code, str)]
        if isinstance(self.entry, bool):
            return ["true" if self.entry else "false"]
        return [self.entry] if isinstance(self.entry, str) else []


def bind(
    node: FormNode,
    entry: Any,
    *,
    path: str = "",
    row: int | None = None,
    read_only: bool = False,
    problems: dict[str, list[ValueProblem]] | None = None,
    preview: bool = False,
    template: bool = False,
    scope: str = "",
    number: int = 0,
) -> Bound:
    """Binds a node and its children to an entry. ``template``: a blank row to copy, which has no rows itself."""
    problems = problems or {}
    bound = Bound(node, path, entry, read_only, row, messages=problems.get(path, []), scope=scope, preview=preview)
    bound.number = number
    options: dict[str, Any] = {"read_only": read_only, "problems": problems, "preview": preview, "scope": scope}
    if raw_text(entry) is not None and not node.is_leaf:
        entry = ABSENT
    if node.shape == "group":
        inside = entry if isinstance(entry, dict) else {}
        for child in node.children:
            here = path if child.key == MORE else join(path, child.key)
            bound.children.append(bind(child, inside.get(child.key, ABSENT), path=here, template=template, **options))
    elif node.shape == "tuple":
        listed = entry if isinstance(entry, list) else []
        for place, child in enumerate(node.children):
            inner = listed[place] if place < len(listed) else ABSENT
            bound.children.append(bind(child, inner, path=join(path, place), template=template, **options))
    elif node.shape == "variants":
        _bind_forms(bound, entry, template, options)
    elif node.item is not None:
        _bind_rows(bound, entry, template, options)
    return bound


def _bind_forms(bound: Bound, entry: Any, template: bool, options: dict[str, Any]) -> None:
    chosen = entry_form(bound.node, entry)
    for place, form in enumerate(bound.node.forms):
        if bound.read_only and not bound.preview and place != chosen:
            continue
        inside = entry.get(VALUE, ABSENT) if bound.read_only and isinstance(entry, dict) else entry
        inside = None if entry is None else inside if bound.read_only else ABSENT
        scope = f"{options['scope']}{place + 1}-"
        bound.forms.append(
            bind(
                form,
                inside,
                path=bound.path,
                number=place + 1,
                template=template or not (bound.read_only or bound.preview),
                **{**options, "scope": scope},
            )
        )


def _bind_rows(bound: Bound, entry: Any, template: bool, options: dict[str, Any]) -> None:
    node, path = bound.node, bound.path
    assert node.item is not None
    entries = entry if isinstance(entry, list) else [ABSENT] if bound.preview and not template else []
    for number, inner in enumerate(entries):
        here = join(path, number)
        bound.rows.append(bind(node.item, inner, path=here, row=number + 1, template=template, **options))
    if not bound.read_only and not bound.preview:
        bound.blank = bind(node.item, ABSENT, path=f"{path}[]", row=0, template=True, scope=options["scope"])
