"""Values of columns: exact numbers in JSON, what PostgreSQL can store, and the validation of rows."""

import json
import math
import re
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Model

from slmstudio.contract.schema.compiled import dumps


class ExactEncoder(json.JSONEncoder):
    """Writes Decimals as exact numbers."""

    def encode(self, o: Any) -> str:
        return dumps(o)


class ExactDecoder(json.JSONDecoder):
    """Reads fractions as Decimal."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "parse_float": Decimal})


class ExactJSONField(models.JSONField):
    """``jsonb`` with exact numbers: PostgreSQL and Python keep all digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("encoder", ExactEncoder)
        kwargs.setdefault("decoder", ExactDecoder)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("encoder", None)
        kwargs.pop("decoder", None)
        return name, path, args, kwargs


def validate_fields(row: Model) -> None:
    """Validates the values of a row, without a query.

    ``full_clean`` looks up each related row, which the caller has as an object, and asks the database about each
    constraint, which it checks at the insert anyway.

    Raises:
        ValidationError: a value is not one of its field.
    """
    related = {field.name for field in row._meta.concrete_fields if field.is_relation}
    row.full_clean(exclude=related, validate_unique=False, validate_constraints=False)


_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """A text that files and the database can store: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable(value: Any) -> Any:
    """A JSON value that ``jsonb`` can store: NaN and infinity become null, and its texts are storable."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value
