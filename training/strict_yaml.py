"""Strict YAML to frozen dataclasses of pydantic: unknown, missing and ill-typed keys are errors.

Pure; shared by web process, jobs and child processes.
"""

import dataclasses
from decimal import Decimal
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import CoreSchema, literal_schema

T = TypeVar("T")
#: digits of one number in a file; 1e300 is written out
MAX_DIGITS = 1_000
#: levels of mappings and lists: libyaml's composer is recursive in C
_MAX_DEPTH = 200


class SpecError(ValueError):
    """An invalid spec file; ``field`` is a dotted path such as ``lora.r``."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class _Loader(yaml.CSafeLoader):
    """Safe YAML with fractions as Decimal (a JSON Schema's 0.10 stays 0.10) and unique keys. Dates are text, as in
    JSON.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _digits(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node)).replace("_", "")
    if len(text) > MAX_DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of more than {MAX_DIGITS:,} digits", node.start_mark
        )
    return text


def _whole(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> int:
    _digits(loader, node)
    return int(loader.construct_yaml_int(node))


def _exact_float(loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> Any:
    text = _digits(loader, node)
    try:
        return Decimal(text)
    except ArithmeticError:
        return loader.construct_yaml_float(node)


def _unique_mapping(loader: yaml.CSafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise SpecError(str(key), "is used as a key; keys must be strings (use quotes)")
        if key in mapping:
            raise SpecError(key, "is a duplicate key")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _exact_float)
_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _load(text: str) -> Any:
    """The content of a text. Aliases are rejected: nested ones of a few hundred bytes can expand beyond any memory.
    Tags and deep nesting are rejected, too.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("", "aliases (*name) are not supported")
        if getattr(event, "tag", None) is not None:
            raise SpecError("", "tags (!name) are not supported")
        if depth > _MAX_DEPTH:
            raise SpecError("", "nested too deeply")
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


def _storable(text: str) -> str:
    """Rejects a text that a database and a file cannot hold: with NUL or lone surrogates."""
    try:
        if b"\0" not in text.encode():
            return text
    except UnicodeEncodeError:
        pass
    raise ValueError("has invalid characters")


def _float(value: Any) -> Any:
    if isinstance(value, str) and "e" in value.lower():
        raise ValueError("must be a number (YAML needs a decimal point before the exponent: 5.0e-4)")
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return value


#: the types of fields; pydantic's own would convert "16" and 1.0 to 16, and 1 to true
Text = Annotated[str, Field(strict=True), AfterValidator(_storable)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_float)]


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Marks a text as one of a few values, which are ``Literal`` for pydantic and plain text for the type checker."""

    values: tuple[str, ...]

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return literal_schema([*self.values])


#: the configuration of the dataclasses
STRICT = ConfigDict(extra="forbid")


class Spec:
    """The base class of files: a frozen dataclass of pydantic with ``STRICT``."""

    def to_yaml(self) -> str:
        """A text that ``from_yaml`` reads back to an equal spec; keys as declared, those of a base class last."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        inherited = {
            field.name
            for base in type(self).__mro__[1:]
            if dataclasses.is_dataclass(base)
            for field in dataclasses.fields(base)
        }
        ordered = dict(sorted(values.items(), key=lambda item: item[0] in inherited))
        return str(yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """The spec that a YAML text describes. Builds plain values only (no YAML tags, no aliases).

        Raises SpecError naming the field: on unknown, missing, duplicate and ill-typed keys, and for ``problems()``.
        """
        try:
            data = _load(text)
        except SpecError:
            raise
        except (yaml.YAMLError, ValueError, ArithmeticError) as error:
            raise SpecError("", f"not YAML: {error}") from error
        return build(cls, data)


def build(cls: type[T], data: Any) -> T:
    """As ``Spec.from_yaml``, from plain values, for any dataclass of pydantic."""
    if not isinstance(data, dict):
        raise SpecError("", f"must be a mapping of keys to values, found {_format_value(data)}")
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise SpecError(str(key), f"is unknown; known keys are {', '.join(known)}")
    try:
        spec: T = TypeAdapter(cls).validate_python(data)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_context=True)
        raise _spec_error(next((error for error in errors if error["type"] in _UNKNOWN), errors[0])) from None
    _raise_problems(spec, "")
    return spec


def _raise_problems(spec: Any, path: str) -> None:
    """Raises the first problem of a spec or of one inside it that its types do not express."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if dataclasses.is_dataclass(value):
            _raise_problems(value, f"{path}{field.name}.")
    for name, message in getattr(spec, "problems", tuple)():
        raise SpecError(f"{path}{name}", message)


_UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_MESSAGES = {
    "missing": "is missing",
    "unexpected_keyword_argument": "is unknown",
    "dataclass_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
}


def _spec_error(error: ErrorDetails) -> SpecError:
    path = ""
    for part in error["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.isidentifier() and error["type"] not in _UNKNOWN:
            break  # the member of a union
        else:
            path += f".{part}" if path else part
    message = _MESSAGES.get(error["type"])
    if error["type"] == "literal_error":
        message = f"must be one of {error['ctx']['expected'].replace(' or ', ', ')}"
    elif message is None:
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        message = message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    if error["type"] == "missing" or error["type"] in _UNKNOWN:
        return SpecError(path, message)
    return SpecError(path, f"{message}, found {_format_value(error['input'])}")


def _format_value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str | bool | int) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
