"""The steps of a mapping: their format, validation and description. Pure."""

from typing import Any, Final

import re2  # type: ignore[import-untyped]

from labeling.schema_migration.mapping.patterns import rows_of
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema

Step = dict[str, Any]
ORDER: Final = ("split", "rename", "replace", "convert", "drop", "default")
_KEYS: Final = {
    "split": {"field", "by", "into"},
    "rename": {"field", "to"},
    "replace": {"field", "values"},
    "convert": {"field"},
    "drop": {"field"},
    "default": {"field", "value"},
}
_MAX_STEPS = 200
_MAX_PATTERN = 500


class MappingError(ValueError):
    """A mapping that cannot be applied; ``step`` is the number of the step, from 1, or 0 for the whole."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(f"Step {step}: {message}" if step else message)
        self.step = step


def check(steps: Any, old: CompiledSchema, new: CompiledSchema) -> list[Step]:
    """The steps in the order in which they are applied.

    Raises:
        MappingError: with the number of the invalid step.
    """
    if not isinstance(steps, list):
        raise MappingError("A mapping is a list of steps.")
    if len(steps) > _MAX_STEPS:
        raise MappingError(f"A mapping has at most {_MAX_STEPS} steps.")
    before = {node.pattern for node in old.root.nodes()}
    after = {node.pattern for node in new.root.nodes()}
    for number, step in enumerate(steps, 1):
        _check_step(number, step, before, after)
    return sorted(steps, key=lambda step: ORDER.index(step["do"]))


def _check_step(number: int, step: Any, before: set[str], after: set[str]) -> None:
    if not isinstance(step, dict) or step.get("do") not in ORDER:
        raise MappingError(f'"do" must be one of {", ".join(ORDER)}.', number)
    do = step["do"]
    if set(step) != _KEYS[do] | {"do"}:
        raise MappingError(f"{do} takes {' and '.join(sorted(_KEYS[do]))}.", number)
    name = step["field"]
    known = after if do in ("default", "convert", "replace") else before
    if not isinstance(name, str) or name not in known:
        which = "new" if known is after else "old"
        raise MappingError(f"there is no field {name!r} in the {which} schema.", number)
    if do == "rename":
        _check_target(number, name, step["to"], after)
    elif do == "replace" and not (isinstance(step["values"], dict) and all(map(_is_json, step["values"].items()))):
        raise MappingError('"values" maps JSON texts to JSON texts: {"\\"old\\"": "\\"new\\""}.', number)
    elif do == "split":
        _check_split(number, step, after)


def _check_target(number: int, name: str, target: Any, after: set[str]) -> None:
    if not isinstance(target, str) or target not in after:
        raise MappingError(f"there is no field {target!r} in the new schema.", number)
    if rows_of(name) != rows_of(target):
        raise MappingError(f"{name} cannot become {target}: a field stays within its rows.", number)


def _is_json(pair: tuple[Any, Any]) -> bool:
    try:
        return all(isinstance(text, str) and (loads(text), True)[1] for text in pair)
    except JsonError:
        return False


def _check_split(number: int, step: Step, after: set[str]) -> None:
    try:
        groups = set(compiled_expression(step["by"]).groupindex)
    except (re2.error, TypeError, AttributeError) as error:
        raise MappingError(f"{step['by']!r} is not a regular expression: {_message(error)}.", number) from error
    into = step["into"]
    if not isinstance(into, dict) or not into or set(into) - groups:
        raise MappingError(
            'the expression needs a named group, (?P<street>.+), for each name in "into"; '
            f"it has {', '.join(sorted(groups)) or 'none'}.",
            number,
        )
    for target in into.values():
        _check_target(number, step["field"], target, after)


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def compiled_expression(pattern: Any) -> Any:
    """A regular expression with linear matching time. Raises TypeError or ``re2.error``."""
    if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN:
        raise TypeError(f"at most {_MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def in_words(step: Step) -> str:
    """The description of a step."""
    name = step["field"]
    if step["do"] == "rename":
        return f"{name} becomes {step['to']}"
    if step["do"] == "split":
        return f"{name} is split into {', '.join(step['into'].values())}"
    if step["do"] == "default":
        return f"{name} is {dumps(step['value'])} if it is absent"
    if step["do"] == "replace":
        return f"{name}: " + ", ".join(f"{old} becomes {new}" for old, new in step["values"].items())
    return f"{name} is {'parsed as the new type' if step['do'] == 'convert' else 'dropped'}"
