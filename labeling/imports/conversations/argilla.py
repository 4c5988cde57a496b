"""Records of Argilla 2: fields, suggestions of models and responses of people, nested or flat.

``Dataset.to_disk`` and ``records.to_json`` write them nested (``fields``, ``suggestions``, ``responses``), where a
response has no status: those of completed records count. ``records.to_datasets`` and ``to_list(flatten=True)`` write
columns (``total.responses``, ``total.responses.status``, ``total.suggestion``): submitted responses count.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from labeling.imports.conversations.exchanges import USER, Exchange, ShapeError, as_dict, exchange
from slmstudio.contract.json_text import dumps

_RESPONSES, _SUGGESTION = ".responses", ".suggestion"
_STATUS, _USERS, _AGENT = ".status", ".users", ".agent"
#: usual names of the field with the document, where others are metadata
_TEXTS: Final = ("text", "document", "prompt", "instruction", "input", "question", "content")
#: keys of a flat record that are no field
_OWN: Final = ("id", "status", "_server_id", "score")


def is_argilla(value: dict[str, Any]) -> bool:
    """A nested record, or a flat one with a column of responses or suggestions."""
    if isinstance(value.get("fields"), dict):
        return isinstance(value.get("responses"), dict) and isinstance(value.get("suggestions"), dict)
    return any(key.endswith((_RESPONSES + _STATUS, _SUGGESTION + _AGENT)) for key in value)


def read_argilla(value: dict[str, Any]) -> Iterator[Exchange]:
    """A record as an exchange. Its answer is what people submitted, if they agree, else what a model suggested.

    Raises:
        ShapeError: it has no text.
    """
    nested = isinstance(value.get("fields"), dict)
    fields = value["fields"] if nested else {key: field for key, field in value.items() if _is_field(key)}
    text, messages = _document(fields, nested)
    responses = _nested_responses(value) if nested else _flat_responses(value)
    suggestions, agents = _nested_suggestions(value) if nested else _flat_suggestions(value)
    answer = _answer([{name: _plain(reply, text) for name, reply in given.items()} for given in responses])
    is_suggestion = answer is None
    if is_suggestion:
        answer = _answer([{name: _plain(reply, text) for name, reply in suggestions.items()}])
    yield exchange(
        messages,
        answer,
        id=str(value.get("id") or ""),
        model=agents.pop() if is_suggestion and len(agents) == 1 else "",
        is_suggestion=is_suggestion,
    )


def _is_field(key: str) -> bool:
    return key not in _OWN and not any(f"{mark}." in f"{key}." for mark in (_RESPONSES, _SUGGESTION))


def _document(fields: Mapping[str, Any], nested: bool) -> tuple[str, list[Any]]:
    """The text and the messages of a record. All texts of a nested one are its document, each under its name."""
    chats = [value for value in fields.values() if isinstance(value, list) and value and "role" in as_dict(value[0])]
    if chats:
        return "", chats[0]
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and value.strip()}
    if not texts:
        raise ShapeError("the record has no field with a text")
    if nested and len(texts) > 1:
        text = "\n\n".join(f"{name}: {value}" for name, value in texts.items())
    else:
        text = texts[next((name for name in _TEXTS if name in texts), next(iter(texts)))]
    return text, [{"role": USER, "content": text}]


def _nested_responses(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each person answered; nothing where it may be a draft."""
    people: dict[str, dict[str, Any]] = {}
    if record.get("status") == "completed":
        for name, given in record["responses"].items():
            for response in given if isinstance(given, list) else ():
                people.setdefault(str(as_dict(response).get("user_id")), {})[name] = as_dict(response).get("value")
    return list(people.values())


def _flat_responses(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    people: dict[str, dict[str, Any]] = {}
    for key in record:
        if key.endswith(_RESPONSES) and record[key]:
            columns = (record[key], record.get(key + _USERS), record.get(key + _STATUS))
            for value, user, status in zip(*(column or () for column in columns), strict=False):
                if status == "submitted":
                    people.setdefault(str(user), {})[key.removesuffix(_RESPONSES)] = value
    return list(people.values())


def _nested_suggestions(record: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The suggested values by question, and the models that suggested them."""
    suggestions = {name: as_dict(suggestion) for name, suggestion in record["suggestions"].items()}
    return {name: suggestion.get("value") for name, suggestion in suggestions.items()}, {
        str(suggestion.get("agent") or "") for suggestion in suggestions.values()
    }


def _flat_suggestions(record: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    suggestions = {
        key.removesuffix(_SUGGESTION): value
        for key, value in record.items()
        if key.endswith(_SUGGESTION) and value is not None
    }
    return suggestions, {str(record.get(name + _SUGGESTION + _AGENT) or "") for name in suggestions}


def _answer(given: list[dict[str, Any]]) -> str | None:
    """The answer that all have given; None if there is none or they differ. A single JSON text is the answer itself."""
    if not given or not given[0] or any(answers != given[0] for answers in given):
        return None
    values = list(given[0].values())
    alone = values[0] if len(values) == 1 else None
    return alone if isinstance(alone, str) and alone.lstrip().startswith("{") else dumps(given[0])


def _plain(value: Any, text: str) -> Any:
    """A ranking as a list in its order, spans with their text; other values as they are."""
    if not isinstance(value, list) or not value or not all(isinstance(part, dict) for part in value):
        return value
    if all({"rank", "value"} <= part.keys() for part in value):
        return [part["value"] for part in sorted(value, key=lambda part: part["rank"])]
    if all({"label", "start", "end"} <= part.keys() for part in value):
        return [{"label": part["label"], "text": text[part["start"] : part["end"]]} for part in value]
    return value
