"""Models of Pydantic 1 and 2 in Python source, read as a syntax tree: nothing is imported or executed."""

import ast
import textwrap
from collections.abc import Iterator
from typing import Any

from slmstudio.contract.sources.drafts import Definitions, Draft, Reason, SourceError
from slmstudio.contract.sources.pydantic_fields import apply_field, field_calls
from slmstudio.contract.sources.python_types import TypeReader, literal, name_of

_MODELS = {"BaseModel", "BaseSettings", "GenericModel", "SQLModel", "TypedDict", "NamedTuple", "DynamicBaseModel"}
_ENUMS = {"Enum", "StrEnum", "IntEnum", "str_enum"}
_NO_FIELDS = {"ClassVar", "PrivateAttr", "InitVar"}
_CHECKS = {"validator", "root_validator", "field_validator", "model_validator", "computed_field"}


def schema_from_pydantic(text: str, name: str = "") -> Draft:
    """The schema of the models in a text. ``name``: the model of the document; by default the last one that no other
    refers to.

    Raises:
        SourceError: with the line, if the text is no Python, or uses a type that it does not define.
    """
    try:
        tree = ast.parse(textwrap.dedent(text))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0) or 0
        raise SourceError(f"This is not Python: {getattr(error, 'msg', error)}.", line) from None
    source = _Source(tree)
    chosen, names = source.definitions.document(name)
    schema = source.definitions.schema(chosen)
    reasons = (Reason("", f"The model {chosen}, line {source.definitions.lines[chosen]}."),)
    return Draft(schema, "pydantic", reasons, tuple(source.notes), chosen, names)


class _Source:
    def __init__(self, tree: ast.Module) -> None:
        self.definitions = Definitions()
        self.notes: list[str] = []
        self._classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self._aliases = dict(_aliases(tree))
        self._types = TypeReader(self._reference)
        self._is_first = self._is_first_version()
        for name in self._classes:
            self._define(name)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        checks = sorted(node.lineno for node in functions if _is_check(node))
        if checks:
            lines = ", ".join(map(str, checks[:8]))
            self.notes.append(f"Validators and computed fields are not translated (line {lines}).")

    def _reference(self, name: str, line: int) -> dict[str, Any]:
        """The schema of a name that the text defines."""
        if name not in self._classes and name not in self._aliases:
            raise SourceError(f"the type {name} is not defined in this text. Paste its class too.", line)
        self._define(name)
        if name not in self.definitions.schemas and name not in self.definitions.parts:
            raise SourceError(f"the class {name} is neither a model nor an enum.", line)
        return {"$ref": f"#/$defs/{name}"}

    def _define(self, name: str) -> None:
        if name in self.definitions.schemas or name in self.definitions.parts:
            return
        if name in self._aliases:
            self.definitions.parts.add(name)
            self.definitions.schemas[name] = self._types.schema(self._aliases[name])
            return
        node = self._classes[name]
        bases = [name_of(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        if any(base in _ENUMS for base in bases):
            self.definitions.parts.add(name)
            self.definitions.schemas[name] = _enum(node)
        elif self._is_model(name, set()):
            self.definitions.lines[name] = node.lineno
            self.definitions.schemas[name] = {}  # a model may refer to itself
            self.definitions.schemas[name] = self._model(node)

    def _is_model(self, name: str, seen: set[str]) -> bool:
        node = self._classes.get(name)
        if node is None or name in seen:
            return name in _MODELS or name == "RootModel"
        seen.add(name)
        if any(name_of(one.func if isinstance(one, ast.Call) else one) == "dataclass" for one in node.decorator_list):
            return True
        bases = [name_of(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        return any(self._is_model(base, seen) for base in bases)

    def _model(self, node: ast.ClassDef) -> dict[str, Any]:
        for base in node.bases:  # RootModel[list[int]]
            if isinstance(base, ast.Subscript) and name_of(base.value) == "RootModel":
                return self._types.schema(base.slice)
        fields = {one.target.id: one for one in self._fields(node) if isinstance(one.target, ast.Name)}
        if "__root__" in fields:
            return self._types.schema(fields["__root__"].annotation)
        properties: dict[str, Any] = {}
        required = []
        for name, one in fields.items():
            schema = self._types.schema(one.annotation)
            calls = field_calls(one)
            has_default = one.value is not None and not any(call is one.value for call in calls)
            title, schema, needed = apply_field(name, schema, calls, one.value if has_default else None)
            properties[title] = schema
            if needed and not has_default and not self._is_implied_optional(one):
                required.append(title)
        schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if (extra := self._extra(node)) is not None:
            schema["additionalProperties"] = extra
        if text := ast.get_docstring(node):
            schema = {"description": text, **schema}
        return schema

    def _fields(self, node: ast.ClassDef, seen: frozenset[str] = frozenset()) -> Iterator[ast.AnnAssign]:
        """Fields of the bases first, as Pydantic does."""
        for base in node.bases:
            name = name_of(base.value if isinstance(base, ast.Subscript) else base)
            if name in self._classes and name not in seen:
                yield from self._fields(self._classes[name], seen | {name})
        for one in node.body:
            if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
                continue
            outer = one.annotation.value if isinstance(one.annotation, ast.Subscript) else one.annotation
            called = name_of(one.value.func) if isinstance(one.value, ast.Call) else ""
            hidden = one.target.id.startswith("_") and one.target.id != "__root__"
            if (
                name_of(outer) not in _NO_FIELDS
                and called not in _NO_FIELDS
                and one.target.id != "model_config"
                and not hidden
            ):
                yield one

    def _is_implied_optional(self, field: ast.AnnAssign) -> bool:
        outer = field.annotation
        return self._is_first and isinstance(outer, ast.Subscript) and name_of(outer.value) == "Optional"

    def _is_first_version(self) -> bool:
        """Whether a text has what only Pydantic 1 has: there, ``Optional`` without a default is not required."""
        nodes = [one for node in self._classes.values() for one in ast.walk(node)]
        found = {_decorator(one) for node in nodes if isinstance(node, ast.FunctionDef) for one in node.decorator_list}
        words = {word.arg for node in nodes if isinstance(node, ast.Call) for word in node.keywords}
        roots = {name_of(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}
        return bool({"validator", "root_validator"} & found or {"regex", "min_items"} & words or "__root__" in roots)

    def _extra(self, node: ast.ClassDef) -> bool | None:
        """``extra="forbid"`` or ``"allow"`` of ``model_config``, ``class Config`` or the class keywords."""
        pairs = [(word.arg, word.value) for word in node.keywords]
        for one in node.body:
            inner = one.body if isinstance(one, ast.ClassDef) and one.name == "Config" else []
            pairs += [(name_of(item.targets[0]), item.value) for item in inner if isinstance(item, ast.Assign)]
            value = one.value if isinstance(one, ast.Assign) and name_of(one.targets[0]) == "model_config" else None
            if isinstance(one, ast.AnnAssign) and name_of(one.target) == "model_config":
                value = one.value
            if isinstance(value, ast.Call):
                pairs += [(word.arg, word.value) for word in value.keywords]
            if isinstance(value, ast.Dict):
                pairs += [(str(literal(key)), item) for key, item in zip(value.keys, value.values, strict=True) if key]
        for name, item in pairs:
            text = literal(item) if isinstance(item, ast.Constant) else name_of(item)
            if name == "extra" and text in ("forbid", "allow"):
                return bool(text == "allow")
        return None


def _decorator(node: ast.expr) -> str:
    return name_of(node.func if isinstance(node, ast.Call) else node)


def _is_check(node: ast.FunctionDef) -> bool:
    return any(_decorator(one) in _CHECKS for one in node.decorator_list)


def _aliases(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """``Currency = Literal["EUR"]``, ``X: TypeAlias = ...``, ``type X = ...``, ``Id = NewType("Id", str)``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and name_of(value.func) == "NewType" and len(value.args) == 2:
                value = value.args[1]
            yield node.targets[0].id, value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif hasattr(ast, "TypeAlias") and isinstance(node, ast.TypeAlias):
            yield node.name.id, node.value


def _enum(node: ast.ClassDef) -> dict[str, Any]:
    values = [
        literal(one.value)
        for one in node.body
        if isinstance(one, ast.Assign)
        and isinstance(one.value, ast.Constant)
        and not name_of(one.targets[0]).startswith("_")
    ]
    names = [name_of(one.targets[0]) for one in node.body if isinstance(one, ast.Assign)]
    if not values and names:  # auto()
        is_text = any(name_of(base) == "StrEnum" for base in node.bases)
        values = [name.lower() for name in names] if is_text else list(range(1, len(names) + 1))
    if not values:
        raise SourceError(f"the enum {node.name} has no values.", node.lineno)
    types = {"string" if isinstance(value, str) else "integer" for value in values}
    schema: dict[str, Any] = {"type": types.pop()} if len(types) == 1 else {}
    text = ast.get_docstring(node)
    return {**({"description": text} if text else {}), **schema, "enum": values}
