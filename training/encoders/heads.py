"""Which head of an encoder answers which field of a contract, and which fields none can answer. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, floor
from typing import Any, Literal

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.errors import Refused

Kind = Literal["span", "decision", "tags", "rows"]
#: classes of a decision; more are a search problem, and their weights would outgrow the encoder's
MAX_CLASSES = 5_000
#: integers from minimum to maximum that are choices without an enum
_MAX_SCALE = 20
#: the pattern of the head that decides how a document writes dates in digits, and its classes; no field has it
DATE_ORDER, ORDERS = "#date-order", ("DMY", "MDY")
_SCALARS = ("string", "number", "integer", "boolean")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of one place of a contract.

    ``span``: one stretch of the document, or none. ``decision``: one of ``classes``; with ``several``, any number of
    them; ``ordered`` classes are ascending integers, after None where it is one. ``tags``: any number of stretches,
    each of one of ``classes``, or of one kind where there are none. ``rows``: a list of objects, with a span for each
    of its ``columns``, and for each of its ``choices`` a decision at the first token of a row.

    ``pattern``: of the field for span and decision, of the list for the others. ``leaf``: the field whose values it
    gives; of tags with classes, the field of the text, and ``type_leaf`` that of the class. None for rows, whose
    ``item`` is the place of one row.
    """

    kind: Kind
    pattern: str
    leaf: Field | None = None
    type_leaf: Field | None = None
    classes: tuple[Any, ...] = ()
    several: bool = False
    ordered: bool = False
    columns: tuple["Head", ...] = ()
    choices: tuple["Head", ...] = ()
    item: Node | None = None

    @property
    def has_numbers(self) -> bool:
        """Whether values that it points at are numbers or dates."""
        return any(leaf.type != "string" or KINDS[leaf.kind].by_meaning for leaf in _leaves_of(self))

    @property
    def description(self) -> str:
        """What it gives, in a few words."""
        if self.kind == "span":
            return "Span: one stretch of the text"
        if self.kind == "decision":
            count = len(self.classes) - (None in self.classes)
            number = "any" if self.several else "one"
            return f"Decision: {number} of {count:,} choice{'' if count == 1 else 's'}"
        if self.kind == "rows":
            names = [column.pattern.rpartition(".")[2] for column in self.columns]
            for choice in self.choices:
                names.append(f"{choice.pattern.rpartition('.')[2]} ({choice.description.lower()})")
            return f"Rows: a table with {', '.join(names)}"
        return f"Tags: any number of stretches{' with a class' if self.classes else ''}"


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A field that no head answers, and why."""

    pattern: str
    reason: str


@dataclass
class HeadPlan:
    """The heads of a contract in schema order, and the fields without one: also columns of rows that have a head."""

    heads: list[Head] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)

    def check(self, left_out: Collection[str] = ()) -> None:
        """Checks that a model would have a head.

        Raises:
            Refused: no field has one, all are left out, or a field that is left out has none anyway.
        """
        planned = {head.pattern for head in self.heads}
        if not planned:
            reasons = "; ".join(f"{item.pattern}: {item.reason}" for item in self.unanswered)
            raise Refused(
                f"An encoder cannot answer any field of this contract{f' ({reasons})' if reasons else ''}. Choose a "
                "decoder as the base model.",
                field="base_model",
                code="heads",
            )
        if unknown := sorted(set(left_out) - planned):
            raise Refused(f"No head can be left out for {', '.join(unknown)}.", field="without_heads", code="heads")
        if planned == set(left_out):
            raise Refused("All heads are left out. Keep at least one.", field="without_heads", code="heads")


def plan_heads(compiled: CompiledSchema, unsigned: Collection[str] = ()) -> HeadPlan:
    """The heads for a schema. ``unsigned``: patterns of numbers that are not negative where they are in brackets."""
    plan = HeadPlan()
    for item in _heads(_without_accounting(compiled.root, unsigned), in_list=False):
        (plan.heads if isinstance(item, Head) else plan.unanswered).append(item)  # type: ignore[arg-type]
    return plan


def _without_accounting(node: Node, unsigned: Collection[str]) -> Node:
    leaf = node.field
    return replace(
        node,
        field=replace(leaf, accounting=False) if leaf is not None and leaf.pattern in unsigned else leaf,
        item=None if node.item is None else _without_accounting(node.item, unsigned),
        children={name: _without_accounting(child, unsigned) for name, child in node.children.items()},
    )


def trained_heads(plan: HeadPlan, left_out: Collection[str] = ()) -> list[Head]:
    """The heads that a model has: those of the fields that are not left out, and where their dates need it one for the
    order of dates in digits.
    """
    heads = [head for head in plan.heads if head.pattern not in left_out]
    if any(_needs_order(leaf) for head in heads for leaf in _leaves_of(head)):
        heads.append(Head(kind="decision", pattern=DATE_ORDER, classes=ORDERS))
    return heads


def _leaves_of(head: Head) -> list[Field]:
    """The fields whose values a head points at."""
    heads = head.columns if head.kind == "rows" else (head,)
    return [part.leaf for part in heads if part.leaf is not None and part.kind in ("span", "tags")]


def _needs_order(leaf: Field) -> bool:
    return leaf.format == "date" and not leaf.date_order and not leaf.locale


def tag_labels(head: Head) -> int:
    """Labels of a token for a head of tags or rows: outside, and begin and inside of each class or column."""
    return 1 + 2 * (len(head.columns) if head.kind == "rows" else max(1, len(head.classes)))


def tag_width(head: Head) -> int:
    """Outputs of a head of tags or rows for each token: its labels; of rows then the start of a row, and the classes of
    each choice.
    """
    return tag_labels(head) + (head.kind == "rows") + sum(len(choice.classes) for choice in head.choices)


def _heads(node: Node, *, in_list: bool) -> Iterator[Head | Unanswered]:
    if node.shape == "object" and node.children:
        for child in node.children.values():
            yield from _heads(child, in_list=in_list)
        return
    if node.item is not None:
        if in_list:
            yield Unanswered(pattern=node.pattern, reason="it is a list in a list")
        else:
            yield from _list_heads(node, node.item)
        return
    yield _leaf_head(node)


def _leaf_head(node: Node) -> Head | Unanswered:
    leaf = node.field
    if leaf is None or node.recursive or leaf.type not in _SCALARS:
        return Unanswered(pattern=node.pattern, reason="its values have no fixed structure")
    classes = _classes(node, leaf)
    if classes:
        if len(classes) > MAX_CLASSES:
            return Unanswered(pattern=node.pattern, reason=f"it has more than {MAX_CLASSES:,} choices")
        absent = (None,) if leaf.nullable or not leaf.required else ()
        ordered = _is_ordered(classes)
        return Head(kind="decision", pattern=node.pattern, leaf=leaf, classes=absent + classes, ordered=ordered)
    if not KINDS[leaf.kind].scored:
        return Unanswered(pattern=node.pattern, reason="it is free text")
    if leaf.evidence == "none":
        return Unanswered(pattern=node.pattern, reason="its values need not be in the document")
    return Head(kind="span", pattern=node.pattern, leaf=leaf)


def _classes(node: Node, leaf: Field) -> tuple[Any, ...]:
    if leaf.type == "boolean":
        return leaf.enum or (False, True)
    if leaf.enum:
        return leaf.enum
    low, high = node.schema.get("minimum"), node.schema.get("maximum")
    # A number that the document has printed is copied.
    if leaf.type == "integer" and leaf.evidence == "none" and low is not None and high is not None:
        first, last = ceil(low), floor(high)
        return tuple(range(first, last + 1)) if last - first < _MAX_SCALE else ()
    return (node.schema["const"],) if "const" in node.schema else ()


def _is_ordered(classes: tuple[Any, ...]) -> bool:
    """Whether classes are a scale: at least three integers, each greater than the one before."""
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in classes)
    return whole and len(classes) > 2 and all(low < high for low, high in pairwise(classes))


def _list_heads(node: Node, item: Node) -> Iterator[Head | Unanswered]:
    """The head of a list, and the columns of its rows that have none."""
    if item.shape == "object" and item.children:
        tagged = _tagged_head(node, item)
        yield from (tagged,) if tagged is not None else _rows_heads(node, item)
        return
    head = _leaf_head(item)
    if isinstance(head, Unanswered):
        yield Unanswered(pattern=node.pattern, reason=head.reason)
    elif head.kind == "decision":
        classes = tuple(value for value in head.classes if value is not None)
        yield Head(kind="decision", pattern=node.pattern, leaf=head.leaf, classes=classes, several=True)
    else:
        yield Head(kind="tags", pattern=node.pattern, leaf=head.leaf)


def _tagged_head(node: Node, item: Node) -> Head | None:
    """Tags for objects of a class and its text, as in redaction; None for other objects."""
    heads = [_leaf_head(child) for child in item.children.values()]
    decisions = [head for head in heads if isinstance(head, Head) and head.kind == "decision"]
    spans = [head for head in heads if isinstance(head, Head) and head.kind == "span"]
    if len(heads) != 2 or len(decisions) != 1 or len(spans) != 1 or None in decisions[0].classes:
        return None
    return Head(
        kind="tags", pattern=node.pattern, leaf=spans[0].leaf, type_leaf=decisions[0].leaf, classes=decisions[0].classes
    )


def _rows_heads(node: Node, item: Node) -> Iterator[Head | Unanswered]:
    parts = list(_heads(item, in_list=True))
    columns = tuple(part for part in parts if isinstance(part, Head) and part.kind == "span")
    choices = tuple(part for part in parts if isinstance(part, Head) and part.kind == "decision")
    others = [part for part in parts if isinstance(part, Unanswered)]
    required = _required_in(item, {part.pattern for part in columns + choices})
    missing = next((part for part in others if part.pattern in required), None)
    if not columns:
        reason = others[0].reason if others else "its rows are not in the document"
        yield Unanswered(pattern=node.pattern, reason=reason)
    elif missing is not None:
        yield Unanswered(pattern=node.pattern, reason=f"its rows require {missing.pattern}, and {missing.reason}")
    else:
        yield Head(kind="rows", pattern=node.pattern, columns=columns, choices=choices, item=item)
        yield from others


def _required_in(node: Node, answered: Collection[str]) -> set[str]:
    """The fields and lists that must have a value where the ``answered`` fields have one: an optional object without
    any of these is left out.
    """
    if node.shape != "object" or not node.children:
        return {node.pattern} if node.required and not node.nullable else set()
    if not node.required and all(leaf.pattern not in answered for leaf in node.leaves()):
        return set()
    return set().union(*(_required_in(child, answered) for child in node.children.values()))
