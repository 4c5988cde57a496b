"""Where the tree of a checked schema ends: at recursive places, and at repeated parts if the tree would be too large.

A place that ends the tree is one leaf: the form edits it as JSON, and it is compared as a whole. The validator and the
decoder follow references, so both still see its parts.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from slmstudio.contract.schema.keywords import DEFINITIONS, subschemas
from slmstudio.contract.schema.resolution import IN_PLACE, TreeCut, follow, loops
from slmstudio.contract.schema.work import spend

#: maximum number of places of a tree
MAX_RESOLVED = 100_000

#: a schema by its id, and whether it describes the same value as the schema that leads to it
_Place = tuple[int, bool]


class SchemaGraph:
    """The schemas of a root and what each leads to: its parts and what it references."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.steps: dict[int, tuple[Any, ...]] = {}
        self.schemas: dict[int, dict[str, Any]] = {}
        self.edges: dict[int, list[int]] = {}
        self.in_place: dict[int, list[int]] = {}
        stack: list[tuple[tuple[Any, ...], Any]] = [((), root)]
        while stack:
            steps, schema = stack.pop()
            spend(1 + len(steps))
            if not isinstance(schema, dict) or id(schema) in self.steps:
                continue
            self.steps[id(schema)], self.schemas[id(schema)] = steps, schema
            self.edges[id(schema)], self.in_place[id(schema)] = [], []
            stack += [(steps + inner, value) for inner, value in subschemas(schema)]
            for key, value in self.leads(schema):
                if key == "$ref":
                    stack.append(((*steps, key), value))
                if isinstance(value, dict):
                    self.edges[id(schema)].append(id(value))
                    if key in IN_PLACE:
                        self.in_place[id(schema)].append(id(value))

    def leads(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The schemas that a schema leads to, each with the keyword."""
        if "$ref" in schema:
            yield "$ref", follow(self.root, schema["$ref"])
        for inner, value in subschemas(schema):
            if inner[0] not in DEFINITIONS:
                yield inner[0], value


def tree_cuts(graph: SchemaGraph) -> TreeCut:
    """Where the tree of a checked root without circular references is cut.

    While it has more than ``MAX_RESOLVED`` places, the definition whose repetitions fill most of it is cut as well.

    Raises:
        OverflowError: a single place has too many schemas, such as ``allOf`` of ``allOf``.
    """
    if any(size > MAX_RESOLVED for size in _sizes_in_place(graph).values()):
        raise OverflowError
    refs: set[str] = set()
    cut = _recursion_cuts(graph, refs)
    while True:
        spend(len(graph.schemas))
        sizes = _sizes(graph, cut)
        if sizes[id(graph.root), True] <= MAX_RESOLVED:
            return cut
        repeated = _repeated(graph, refs, sizes)
        if not repeated:
            raise OverflowError
        refs.add(repeated)
        cut = _recursion_cuts(graph, refs)


def _recursion_cuts(graph: SchemaGraph, refs: set[str]) -> TreeCut:
    """A cut at the schemas of a value of which they are themselves a part, and at references to ``refs``."""
    cut: set[int] = {number for number, schema in graph.schemas.items() if schema.get("$ref", "") in refs}
    _spread(graph, cut, set(graph.schemas))
    for group in map(set, loops(graph.edges)):
        entries = {member for member in group if "$ref" in graph.schemas[member]}
        if entries := {member for member in entries if not group.isdisjoint(graph.in_place[member])}:
            cut |= entries
            _spread(graph, cut, group)
    named = {graph.schemas[member]["$ref"] for member in cut if "$ref" in graph.schemas[member]}
    return TreeCut(frozenset(cut), frozenset(named), frozenset(graph.schemas))


def _spread(graph: SchemaGraph, cut: set[int], group: set[int]) -> None:
    """Adds to ``cut`` the schemas of a group for the same value as one in it."""
    while leading := {member for member in group - cut if not cut.isdisjoint(graph.in_place[member])}:
        spend(len(group) // 4)
        cut |= leading


def _sizes_in_place(graph: SchemaGraph) -> dict[int, int]:
    """The number of schemas that describe one value, for each schema, with repetitions."""
    sizes: dict[int, int] = {}

    def size(number: int) -> int:
        if number not in sizes:
            sizes[number] = 1 + sum(map(size, graph.in_place[number]))
        return sizes[number]

    for number in graph.schemas:
        size(number)
    return sizes


def _sizes(graph: SchemaGraph, cut: TreeCut) -> dict[_Place, int]:
    """The number of places of the tree at each place that the root leads to, inner places first."""
    sizes: dict[_Place, int] = {}

    def size(schema: Any, same_place: bool) -> int:
        if not isinstance(schema, dict) or (cut.holds(schema) and not same_place):
            return 1
        place = (id(schema), same_place)
        if place not in sizes:
            sizes[place] = 1 + sum(size(value, key in IN_PLACE) for key, value in graph.leads(schema))
        return sizes[place]

    size(graph.root, True)
    return sizes


def _repeated(graph: SchemaGraph, refs: set[str], sizes: dict[_Place, int]) -> str:
    """The reference outside ``refs`` whose repetitions have most places; "" if there is none."""
    times: Counter[_Place] = Counter({(id(graph.root), True): 1})
    uses: Counter[str] = Counter()
    parts: dict[str, int] = {}
    for place in reversed(sizes):
        schema = graph.schemas[place[0]]
        for key, value in graph.leads(schema):
            inner = (id(value), key in IN_PLACE)
            if inner not in sizes:
                continue
            times[inner] += times[place]
            if key == "$ref" and schema[key] not in refs:
                uses[schema[key]] += times[place]
                parts[schema[key]] = sizes[inner]
    return max(uses, key=lambda reference: (uses[reference] - 1) * parts[reference], default="")
