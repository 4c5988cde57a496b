"""Strict YAML to frozen dataclasses: unknown, missing and ill-typed keys are errors.

Pure; shared by web process, jobs and child processes.
"""

import contextlib
import dataclasses
import math
import types
import typing
from decimal import Decimal
from typing import Any

import yaml

T = typing.TypeVar("T")
#: digits of one number in a file; 1e300 is written out
MAX_DIGITS = 1_000
#: levels of mappings and lists that the fast loader, which is recursive in C, gets
_MAX_DEPTH = 200


class SpecError(ValueError):
    """An invalid spec file; ``field`` is a dotted path such as ``lora.r``."""

    def __init__(self, field: str, message: str) -> None:
        field, message = _printable(field), _printable(message)
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


def _printable(text: str) -> str:
    """The text with lone surrogates escaped, which pages and files cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Loader(yaml.SafeLoader):
    """Safe YAML with fractions as Decimal (a JSON Schema's 0.10 stays 0.10) and unique keys.

    Dates are text, as in JSON. Aliases are rejected: nested ones of a few hundred bytes can expand beyond any memory.
    Tags are rejected, too.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "tags (!name) are not supported", mark)
        return super().compose_node(parent, index)


def _digits(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node)).replace("_", "")
    if len(text) > MAX_DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of more than {MAX_DIGITS:,} digits", node.start_mark
        )
    return text


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    _digits(loader, node)
    return int(loader.construct_yaml_int(node))


def _exact_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    text = _digits(loader, node)
    try:
        return Decimal(text)
    except ArithmeticError:
        return loader.construct_yaml_float(node)


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise SpecError(str(key), "is used as a key; keys must be strings (use quotes)")
        if key in mapping:
            raise SpecError(key, "is a duplicate key")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


class _FastLoader(yaml.CSafeLoader):
    """The same ten times as fast, for texts that ``_is_plain``."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


for _loader in (_Loader, _FastLoader):
    _loader.add_constructor("tag:yaml.org,2002:int", _whole)
    _loader.add_constructor("tag:yaml.org,2002:float", _exact_float)
    _loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _is_plain(text: str) -> bool:
    """Whether a text has no aliases, no tags and few levels."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None or depth > _MAX_DEPTH:
            return False
    return True


def _load(text: str) -> Any:
    """The content of a text; what libyaml rejects is left to the loader whose messages are ours."""
    with contextlib.suppress(yaml.YAMLError, UnicodeError):
        if _is_plain(text):
            return yaml.load(text, Loader=_FastLoader)  # noqa: S506 - a SafeLoader
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


class _Dumper(yaml.CSafeDumper):
    """Safe YAML that writes Decimal as a plain number and a text of several lines as a block.

    The one of libyaml: the Python one writes U+0085 and U+2028 so that another text is read.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _decimal_node(dumper: yaml.CSafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = format(value, "f")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text + ".0")


def _text_node(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(Decimal, _decimal_node)
_Dumper.add_representer(str, _text_node)


def to_yaml(spec: Any) -> str:
    """A dataclass as YAML, keys in the order in which its fields are declared."""
    return str(yaml.dump(dataclasses.asdict(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def from_yaml(cls: type[T], text: str) -> T:
    """The dataclass ``cls`` that a YAML text describes.

    Raises SpecError naming the field: on unknown, missing, duplicate and ill-typed keys, and for the dataclass's own
    ``problems()``. Builds plain values only (no YAML tags, no aliases).
    """
    try:
        data = _load(text)
    except SpecError:
        raise
    except yaml.YAMLError as error:
        raise SpecError("", f"not YAML: {error}") from error
    except RecursionError as error:
        raise SpecError("", "nested too deeply") from error
    except (ValueError, ArithmeticError) as error:
        raise SpecError("", f"not YAML: {error}") from error
    return build(cls, data)


def build(cls: type[T], data: Any, path: str = "") -> T:
    """As ``from_yaml``, from plain values."""
    if not isinstance(data, dict):
        raise SpecError(path, f"must be a mapping of keys to values, found {_format_value(data)}")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise SpecError(_join(path, str(key)), f"is unknown; known keys are {', '.join(known)}")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SpecError(_join(path, name), "is missing")
    spec = cls(**values)
    for name, message in getattr(spec, "problems", list)():
        raise SpecError(_join(path, name), message)
    return spec


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _format_value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str | bool | int) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _convert(kind: Any, value: Any, path: str) -> Any:
    """``value`` as the annotated type ``kind``, or SpecError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is typing.Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise SpecError(path, f"must be one of {', '.join(map(str, arguments))}; found {_format_value(value)}")
        return value
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(path, f"must be a list, found {_format_value(value)}")
        return tuple(_convert(arguments[0], one, f"{path}[{index}]") for index, one in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(path, f"must be a mapping, found {_format_value(value)}")
        return value
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, path)
    return _scalar(kind, value, path)


def _convert_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    first: SpecError | None = None
    for one in arguments:
        if one is type(None):
            continue
        try:
            return _convert(one, value, path)
        except SpecError as error:
            first = first or error
    assert first is not None
    raise first


def _scalar(kind: Any, value: Any, path: str) -> Any:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if isinstance(value, bool):
        if kind is bool:
            return value
    elif kind is float and isinstance(value, int | float | Decimal) and _fits_a_float(value):
        return float(value)
    elif kind is str and isinstance(value, str):
        if not _is_text(value):
            raise SpecError(path, f"has invalid characters: {_format_value(value)}")
        return value
    elif kind is int and isinstance(value, int):
        return value
    hint = ""
    if kind is float and isinstance(value, str) and "e" in value.lower():
        hint = " (YAML needs a decimal point before the exponent: 5.0e-4)"
    raise SpecError(path, f"must be {names.get(kind, str(kind))}, found {_format_value(value)}{hint}")


def _fits_a_float(value: int | float | Decimal) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_text(value: str) -> bool:
    """Whether a database and a file can hold it: no NUL, no lone surrogates."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False
