"""Keywords of drafts 3 to 2020-12, OpenAPI 2 to 3.1 and Gemini as those of the dialect."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import text_fits
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.dialect import FORMATS, identity
from slmstudio.contract.schema.keywords import DEFINITIONS, KNOWN, LISTS, MAPS, SINGLES, TYPES
from slmstudio.contract.schema.patterns import PatternError, compile_pattern
from slmstudio.contract.translation.misspelled_keywords import is_near, meant
from slmstudio.contract.translation.notes import LOSING, Code, Note
from slmstudio.contract.translation.references import REFERENCES, References

_ALIASES = {
    "int": "integer", "long": "integer", "float": "number", "double": "number", "decimal": "number", "str": "string",
    "text": "string", "bool": "boolean", "dict": "object", "map": "object", "list": "array", "none": "null",
}  # fmt: skip
_ANY_TYPE = ("any", "type_unspecified")
#: names of addresses and versions, which references no longer need
_ADDRESSES = ("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", *REFERENCES[1:])
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "not", "if")
_OF_PLACE = ("title", "description", "default", "examples", "x-slm", "deprecated", "readOnly", "writeOnly")
_TEXTS = ("title", "description", "$comment", "contentEncoding", "contentMediaType")
_FLAGS = ("deprecated", "readOnly", "writeOnly", "uniqueItems")
_VALUES = ("const", "default", "enum", "examples", "example")
_MAX_EXAMPLES = 100


class Keywords:
    """Translates schemas; ``notes`` lists what that changed."""

    def __init__(self, references: References, notes: list[Note]) -> None:
        self._references = references
        self.notes = notes
        self._losses = 0  # rules that were left out so far
        self._handlers: dict[str, Callable[[dict[str, Any], dict[str, Any], str, Any, str], None]] = {
            "$ref": self._ref,
            "type": self._type,
            "items": self._items,
            "additionalItems": self._skip,
            "dependencies": self._dependencies,
            "required": self._required,
            "exclusiveMinimum": self._exclusive,
            "exclusiveMaximum": self._exclusive,
            "minimum": self._bound,
            "maximum": self._bound,
            "divisibleBy": self._renamed("multipleOf"),
            "nullable": self._skip,
            "optional": self._skip,
            "example": self._example,
            "examples": self._examples,
            "format": self._format,
            "pattern": self._pattern,
            "enum": self._enum,
            "extends": self._extends,
            "disallow": self._disallow,
            "propertyOrdering": self._skip,
            "unevaluatedItems": self._single,
            **dict.fromkeys(_ADDRESSES, self._skip),
            **dict.fromkeys(("$dynamicRef", "$recursiveRef"), self._ref),
            **dict.fromkeys(MAPS, self._map),
            **dict.fromkeys(LISTS, self._list),
            **{key: self._single for key in SINGLES if key != "items"},
            **dict.fromkeys(_TEXTS, self._text),
            **dict.fromkeys(_FLAGS, self._flag),
        }

    def schema(self, raw: Any, path: str = "") -> Any:
        """A schema in the dialect. What is no schema is left for the checks to reject.

        Raises:
            SchemaError: a keyword is misspelled.
        """
        if not isinstance(raw, dict):
            return raw
        out: dict[str, Any] = {}
        for key, value in raw.items():
            where = f"{path}.{key}".lstrip(".")
            if value is None and key not in _VALUES:
                self._note(Code.IGNORED, where, key)
            elif handler := self._handlers.get(key):
                handler(raw, out, key, value, where)
            elif key in KNOWN or key.startswith("x-"):
                out[key] = value
            else:
                self._unknown(key, value, where)
        self._collect_required(raw, out)
        self._order(raw, out)
        if raw.get("nullable") is True:
            self._note(Code.DRAFT, path, "nullable")
            out = _nullable(out)
        return out

    def _note(self, code: Code, path: str, detail: str) -> None:
        self._losses += code in LOSING
        self.notes.append(Note(code, path, detail))

    def _unknown(self, key: str, value: Any, where: str) -> None:
        if rule := meant(key, value):
            raise SchemaError(where, f"'{key}' is not a keyword of JSON Schema; did you mean '{rule}'?")
        self._note(Code.IGNORED, where, key)

    def _skip(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        pass

    def _renamed(self, name: str) -> Callable[..., None]:
        def rename(raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
            self._note(Code.DRAFT, where, key)
            out.setdefault(name, value)

        return rename

    # -- parts --

    def _ref(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, str):
            out[key] = value
            return
        target = self._references.target(raw)
        if target is None:
            if near := self._references.meant(value) if value.startswith("#") else "":
                raise SchemaError(where, f"'{value}' is not in this schema; did you mean '{near}'?")
            self._note(Code.MISSING if value.startswith("#") else Code.REMOTE, where, value)
            return
        if target != value or key != "$ref":
            self._note(Code.DRAFT, where, key)
        out["$ref"] = target

    def _map(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            out[key] = value
            return
        kept = {}
        for name, inner in value.items():
            if key in DEFINITIONS and not isinstance(inner, dict | bool):
                self._note(Code.IGNORED, f"{where}.{name}", name)
            elif not text_fits(name):
                self._note(Code.UNCHECKED, where, name)
            elif key == "patternProperties" and not _is_pattern(name):
                self._note(Code.UNCHECKED, f"{where}.{name}", f"the pattern {name}")
            else:
                kept[name] = self.schema(inner, f"{where}.{name}")
        out[key] = kept

    def _list(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, list):
            out[key] = value
        elif value:
            before = self._losses
            schemas = [self.schema(inner, f"{where}.{index}") for index, inner in enumerate(value)]
            if key == "oneOf" and self._losses > before:  # a part that accepts more may match next to another one
                self._note(Code.UNCHECKED, where, "that only one alternative matches (oneOf)")
                key, schemas = "allOf", [{"anyOf": schemas}]
            out[key] = [*out[key], *schemas] if key in out else schemas
        else:
            self._note(Code.IGNORED, where, key)

    def _single(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        before = self._losses
        schema = self.schema(value, where)
        if key in ("not", "if") and self._losses > before:
            self._note(Code.UNCHECKED, where, key)
        else:
            out[key] = schema

    def _items(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, list):
            out["items"] = self.schema(value, where)
            return
        self._note(Code.DRAFT, where, "a list of items")
        if value:
            out["prefixItems"] = [self.schema(inner, f"{where}.{index}") for index, inner in enumerate(value)]
        if "additionalItems" in raw:
            out["items"] = self.schema(raw["additionalItems"], f"{where}.additionalItems")

    def _dependencies(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        self._note(Code.DRAFT, where, key)
        if not isinstance(value, dict):
            return
        for name, needed in value.items():
            if isinstance(needed, dict | bool):
                out.setdefault("dependentSchemas", {})[name] = self.schema(needed, f"{where}.{name}")
            else:
                out.setdefault("dependentRequired", {})[name] = [needed] if isinstance(needed, str) else needed

    def _extends(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        self._note(Code.DRAFT, where, key)
        parts = value if isinstance(value, list) else [value]
        out["allOf"] = [*out.get("allOf", []), *(self.schema(part, where) for part in parts)]

    def _disallow(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        self._note(Code.DRAFT, where, key)
        out["not"] = self.schema({"type": value}, where)

    # -- rules --

    def _type(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        parts = value if isinstance(value, list) else [value]
        schemas = [part for part in parts if isinstance(part, dict)]
        names = [self._type_name(part, where) for part in parts if not isinstance(part, dict)]
        if "" in names or not parts:  # any type
            return
        names = list(dict.fromkeys(names))
        if schemas:  # draft 3
            self._note(Code.DRAFT, where, "schemas as types")
            out["anyOf"] = [*({"type": name} for name in names), *(self.schema(part, where) for part in schemas)]
        elif len(names) == 1:
            out["type"] = names[0]
        else:
            out["type"] = names

    def _type_name(self, name: Any, where: str) -> Any:
        if not isinstance(name, str) or name in TYPES:
            return name
        lower = name.lower()
        known = lower if lower in TYPES else _ALIASES.get(lower)
        if lower in _ANY_TYPE or known:
            self._note(Code.DRAFT, where, f'type "{name}"')
            return "" if lower in _ANY_TYPE else known
        if near := next((type_ for type_ in TYPES if is_near(lower, type_)), ""):
            raise SchemaError(where, f"'{name}' is not a type of JSON; did you mean '{near}'?")
        self._note(Code.UNCHECKED, where, f'type "{name}"')
        return ""

    def _required(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, list):
            out["required"] = list(dict.fromkeys([*out.get("required", []), *value]))
        elif not isinstance(value, bool):
            out["required"] = value

    def _collect_required(self, raw: dict[str, Any], out: dict[str, Any]) -> None:
        """Draft 3 and many people write ``required: true`` at the field."""
        fields = raw.get("properties")
        if not isinstance(fields, dict):
            return
        flagged = [name for name, field in fields.items() if isinstance(field, dict) and field.get("required") is True]
        if flagged:
            self._note(Code.DRAFT, "required", "required at fields")
            out["required"] = list(dict.fromkeys([*out.get("required", []), *flagged]))

    def _exclusive(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, bool):
            out[key] = value
            return
        self._note(Code.DRAFT, where, key)
        bound = key.replace("exclusiveM", "m")
        if value and isinstance(raw.get(bound), int | Decimal):
            out[key] = raw[bound]

    def _bound(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if raw.get(key.replace("m", "exclusiveM", 1)) is not True:
            out[key] = value

    def _enum(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, list):
            value = list({identity(item): item for item in value}.values())
        out["enum"] = value

    def _pattern(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, str) and not _is_pattern(value):
            self._note(Code.UNCHECKED, where, f"the pattern {value[:60]}")
            return
        out["pattern"] = value

    def _format(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if not isinstance(value, str) or value in FORMATS:
            out["format"] = value
        elif value.lower() in FORMATS:
            out["format"] = value.lower()
        elif value.lower().rstrip("12345678") in ("uuid", "guid"):
            out["format"] = "uuid"
        else:
            self._note(Code.FORMAT, where, value)

    # -- annotations --

    def _text(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, str):
            out[key] = value
        else:
            self._note(Code.IGNORED, where, key)

    def _flag(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, bool):
            out[key] = value
        else:
            self._note(Code.IGNORED, where, key)

    def _example(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        out["examples"] = [*out.get("examples", []), value]

    def _examples(self, raw: dict[str, Any], out: dict[str, Any], key: str, value: Any, where: str) -> None:
        if isinstance(value, dict):  # OpenAPI: by name
            value = [example["value"] for example in value.values() if isinstance(example, dict) and "value" in example]
        listed = value if isinstance(value, list) else [value]
        out["examples"] = [*out.get("examples", []), *listed][:_MAX_EXAMPLES]

    def _order(self, raw: dict[str, Any], out: dict[str, Any]) -> None:
        """Gemini orders fields by a list of names."""
        names, fields = raw.get("propertyOrdering"), out.get("properties")
        if isinstance(names, list) and isinstance(fields, dict):
            listed = [name for name in names if isinstance(name, str) and name in fields]
            out["properties"] = {name: fields[name] for name in dict.fromkeys([*listed, *fields])}


def _is_pattern(pattern: str) -> bool:
    try:
        compile_pattern(pattern)
    except PatternError:
        return False
    return True


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0: the schema or null."""
    if any(key in schema for key in _COMBINING):
        place = {key: schema[key] for key in _OF_PLACE if key in schema}
        inner = {key: value for key, value in schema.items() if key not in place}
        return {**place, "anyOf": [inner, {"type": "null"}]}
    types = schema.get("type")
    if isinstance(types, str):
        schema = {**schema, "type": [types, "null"] if types != "null" else types}
    elif isinstance(types, list) and "null" not in types:
        schema = {**schema, "type": [*types, "null"]}
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema = {**schema, "enum": [*schema["enum"], None]}
    if "const" in schema:
        schema = {**{key: value for key, value in schema.items() if key != "const"}, "enum": [schema["const"], None]}
    return schema
