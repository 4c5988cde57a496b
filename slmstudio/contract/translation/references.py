"""References of every draft as references into ``$defs``: by pointer, anchor, ``id``, or absolute address."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from slmstudio.contract.schema.keywords import DEFINITIONS, LISTS, MAPS, SINGLES
from slmstudio.contract.schema.resolution import follow
from slmstudio.contract.schema.work import spend
from slmstudio.contract.translation.misspelled_keywords import is_near

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OLDER_MAPS = ("dependencies",)
_OLDER_SINGLES = ("additionalItems", "contentSchema", "extends", "disallow")
#: keywords of a parent that its children do not inherit
_OF_PARENTS = ("oneOf", "anyOf", "discriminator", "components", *DEFINITIONS)
_PLAIN_DEFINITION = re.compile(r"#/(?:\$defs|definitions)/[^/%]+")
_STEPS_OF_COMPARISON = 20
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def parts(schema: dict[str, Any]) -> Iterator[Any]:
    """The schemas directly inside a schema of any draft."""
    for key in (*MAPS, *_OLDER_MAPS):
        if isinstance(schema.get(key), dict):
            yield from schema[key].values()
    for key in (*LISTS, *SINGLES, *_OLDER_SINGLES, "type"):
        value = schema.get(key)
        yield from value if isinstance(value, list) else [value]


class References:
    """Where the references of a schema lead.

    ``target(schema)`` is the reference to write for that of a schema; ``hoisted`` are the schemas that need a name in
    ``$defs`` for it, as they stand in the text.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._bases: dict[int, str] = {}
        self._owners: dict[int, dict[str, Any]] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._anchors: dict[tuple[int, str], Any] = {}
        self._targets: dict[int, str | None] = {}
        self._names: dict[int, str] = {}
        self._used: Counter[str] = Counter()
        self._parents: dict[int, dict[str, Any]] = {}
        self._bare: dict[int, dict[str, Any]] = {}
        self.hoisted: dict[str, Any] = {}
        self._taken = {name for key in DEFINITIONS for name in self._definitions(key)}
        self._index(root, "", root)
        waiting = [root]
        seen: set[int] = set()
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            waiting.extend(parts(schema))
            self._inherit(schema)
            if any(isinstance(schema.get(key), str) for key in REFERENCES):
                target = self._resolved(schema)
                if isinstance(target, dict) and id(target) not in self._bases:
                    self._index(target, self._bases.get(id(schema), ""), self._owners.get(id(schema), root))
                waiting.append(target)

    def target(self, schema: dict[str, Any]) -> str | None:
        """The local reference for the one of a schema; None if it leads elsewhere."""
        return self._targets.get(id(schema))

    def meant(self, reference: str) -> str:
        """The reference that a local one to nothing is a misspelling of; "" if there is none."""
        *around, name = unquote(reference).removeprefix("#/").split("/")
        for place in ("/".join(around), *DEFINITIONS, "components/schemas"):
            names = self._at(self._root, f"/{place}") if place else None
            for known in names if isinstance(names, dict) else ():
                spend(_STEPS_OF_COMPARISON)
                near = f"#/{place}/{known}"
                if near != unquote(reference) and (known == name or is_near(known, name) or is_near(name, known)):
                    return near
        return ""

    def _definitions(self, key: str) -> dict[str, Any]:
        definitions = self._root.get(key)
        return definitions if isinstance(definitions, dict) else {}

    def _index(self, schema: Any, base: str, owner: dict[str, Any]) -> None:
        """Notes the base address of every schema, and what ids and anchors name."""
        stack = [(schema, base, owner)]
        while stack:
            schema, base, owner = stack.pop()
            if not isinstance(schema, dict) or id(schema) in self._bases:
                continue
            for key in ("$id", "id"):
                name = schema.get(key)
                if not isinstance(name, str) or not name:
                    continue
                if name.startswith("#"):
                    self._anchors.setdefault((id(owner), name[1:]), schema)
                else:
                    base, owner = urldefrag(urljoin(base, name))[0], schema
                    self._documents.setdefault(base, schema)
                break
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(schema.get(key), str):
                    self._anchors.setdefault((id(owner), schema[key]), schema)
            self._bases[id(schema)], self._owners[id(schema)] = base, owner
            stack.extend((inner, base, owner) for inner in parts(schema))

    def _inherit(self, schema: dict[str, Any]) -> None:
        """OpenAPI: a schema extends (``allOf``) the one that lists it as an alternative, without its alternatives."""
        extended = schema.get("allOf")
        for part in extended if isinstance(extended, list) else ():
            parent = self._target_of(part)
            if not isinstance(parent, dict):
                continue
            listed = parent.get("oneOf", parent.get("anyOf"))
            spend(len(listed) if isinstance(listed, list) else 1)
            if isinstance(listed, list) and any(self._target_of(alternative) is schema for alternative in listed):
                own = {key: value for key, value in parent.items() if key not in _OF_PARENTS}
                self._parents[id(part)] = self._bare.setdefault(id(parent), own)

    def _target_of(self, schema: Any) -> Any:
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        return self._find(schema, reference) if isinstance(reference, str) else None

    def _resolved(self, schema: dict[str, Any]) -> Any:
        """What the reference of a schema leads to; its new form is stored."""
        reference = next(schema[key] for key in REFERENCES if isinstance(schema.get(key), str))
        target = self._parents.get(id(schema)) or self._find(schema, reference)
        if target is None:
            self._targets[id(schema)] = None
            return None
        if target is self._root:
            self._targets[id(schema)] = "#"
        elif _PLAIN_DEFINITION.fullmatch(reference) and self._at(self._root, reference[1:]) is target:
            self._targets[id(schema)] = reference
        else:
            self._targets[id(schema)] = f"#/$defs/{self._name(target, reference)}"
        return target

    def _find(self, schema: dict[str, Any], reference: str) -> Any:
        spend(1 + len(reference) // 64)
        owner = self._owners.get(id(schema), self._root)
        if reference.startswith("#"):
            documents = [owner] if owner is self._root else [owner, self._root]
            fragment = reference[1:]
        else:
            address, fragment = urldefrag(urljoin(self._bases.get(id(schema), ""), reference))
            known = self._documents.get(address)
            documents = [] if known is None else [known]
        for document in documents:
            target = self._at(document, unquote(fragment))
            if isinstance(target, dict | bool):
                return target
        return None

    def _at(self, document: dict[str, Any], fragment: str) -> Any:
        if not fragment:
            return document
        if fragment.startswith("/"):
            try:
                return follow(document, "#" + fragment)
            except KeyError:
                return document if fragment == "/" else None  # meant as the root, though it names the field ""
        return self._anchors.get((id(document), fragment))

    def _name(self, schema: Any, reference: str) -> str:
        """The name in ``$defs`` of a schema that stands elsewhere."""
        if id(schema) not in self._names:
            last = (
                _NOT_IN_NAMES.sub("_", unquote(reference).rstrip("/").split("/")[-1].lstrip("#")).strip("_") or "part"
            )
            name = last
            while name in self._taken:
                self._used[last] += 1
                name = f"{last}_{self._used[last] + 1}"
            self._taken.add(name)
            self._names[id(schema)] = name
            self.hoisted[name] = schema
        return self._names[id(schema)]
