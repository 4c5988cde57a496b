"""The production constraints of a contract."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from labeling.contract.errors import ContractError

NUMBERS = {
    "latency_p95_ms": "latency",
    "requests_per_second": "throughput",
    "cost_per_request": "cost per request",
    "hardware_memory_gb": "memory",
    "hardware_price_per_hour": "price of the hardware",
    "expected_volume": "expected volume",
    "review_cost": "cost of a review",
}


def clean_constraints(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """The constraints as stored: positive numbers and a currency, without empty ones.

    Raises:
        ContractError: a name is unknown or a value invalid.
    """
    errors: dict[str, str] = {}
    clean: dict[str, Any] = {}
    for name, value in constraints.items():
        if value in (None, ""):
            continue
        if name == "currency":
            if isinstance(value, str) and re.fullmatch("[A-Z]{3}", value):
                clean[name] = value
            else:
                errors[name] = "A currency is three capital letters, for example USD."
        elif name not in NUMBERS:
            errors[name] = f"Unknown constraint. The constraints are {', '.join(NUMBERS)} and currency."
        elif not _is_positive(value):
            errors[name] = f"The {NUMBERS[name]} must be a number above 0."
        else:
            clean[name] = int(value) if value == int(value) else float(value)
    if errors:
        raise ContractError(errors)
    return clean


def _is_positive(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return math.isfinite(value) and 0 < value < 10**12
