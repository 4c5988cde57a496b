"""A JSON column that keeps numbers exact: 1248.50 in, ``Decimal("1248.50")`` out."""

import json
from decimal import Decimal
from typing import Any

from django.db import models

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
