"""The currency of a written amount, and amounts that are equal only in the same currency."""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, Self

#: dollars and pesos, which are all written "$"
_DOLLARS = frozenset({
    "USD", "CAD", "AUD", "NZD", "SGD", "HKD", "TWD", "MXN", "BRL", "BBD", "BMD", "BND", "BSD", "BZD",
    "FJD", "GYD", "JMD", "KYD", "LRD", "NAD", "SBD", "SRD", "TTD", "XCD", "ARS", "CLP", "COP", "CUP",
    "DOP", "UYU",
})  # fmt: skip
_POUNDS = frozenset({"GBP", "EGP", "FKP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"})
_KRONER = frozenset({"SEK", "NOK", "DKK", "ISK"})
#: possible currencies of a sign; "$", "£", "¥", "kr" and "Rs" are ambiguous
_SIGNS = {
    "€": {"EUR"},
    "£": _POUNDS,
    "¥": {"JPY", "CNY"},
    "₹": {"INR"},
    "₩": {"KRW"},
    "₽": {"RUB"},
    "₺": {"TRY"},
    "₫": {"VND"},
    "₴": {"UAH"},
    "₱": {"PHP"},
    "฿": {"THB"},
    "₦": {"NGN"},
    "₪": {"ILS"},
    "$": _DOLLARS,
    "US$": {"USD"},
    "A$": {"AUD"},
    "AU$": {"AUD"},
    "C$": {"CAD"},
    "CA$": {"CAD"},
    "NZ$": {"NZD"},
    "S$": {"SGD"},
    "HK$": {"HKD"},
    "NT$": {"TWD"},
    "MX$": {"MXN"},
    "R$": {"BRL"},
    "RM": {"MYR"},
    "RS": {"INR", "PKR", "LKR", "NPR", "MUR", "SCR"},
    "KR": _KRONER,
    "FR": {"CHF"},
    "ZŁ": {"PLN"},
    "KČ": {"CZK"},
}
_CODE = re.compile(r"(?<![^\W\d_])[A-Z]{3}(?![^\W\d_])")
_SIGN = re.compile(r"[A-Z]{0,3}[$€£]|[¥₹₩₽₺₫₴₱฿₦₪]|[^\W\d_]{2,3}")


class Money(Decimal):
    """An amount with a currency: equal to the same amount without one, or in one that its currency may be."""

    currencies: frozenset[str]

    def __new__(cls, amount: Decimal, currencies: frozenset[str]) -> Self:
        """``currencies``: ISO 4217 codes, several if the sign is ambiguous."""
        made = super().__new__(cls, amount)
        made.currencies = currencies
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Money) and not self.currencies & other.currencies:
            return False
        return Decimal(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    # Equal values have equal amounts, so the amount alone is the hash.
    __hash__ = Decimal.__hash__

    def __reduce__(self) -> Any:
        return (Money, (Decimal(self), self.currencies))


@lru_cache(maxsize=8192)
def currencies(text: str) -> frozenset[str]:
    """Possible ISO 4217 codes of the currency of a written amount; empty if it names no known currency.

    A code wins, wherever it is: ``EUR 100.00``, ``$5 CAD`` and ``CAD$5``. Otherwise the first sign counts: ``100 €`` is
    EUR, ``US$5`` USD, ``$5`` any dollar or peso, ``RM 7`` MYR.
    """
    for code in _CODE.findall(text):
        if code in _codes():
            return frozenset({code})
    for sign in _SIGN.findall(text):
        word = sign.upper().rstrip(".")
        if word in _SIGNS:
            return frozenset(_SIGNS[word])
        if len(word) == 3 and sign.isupper() and word in _codes():
            return frozenset({word})
        if sign[-1] in _SIGNS:
            return frozenset(_SIGNS[sign[-1]])
    return frozenset()


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    from babel.numbers import list_currencies

    return frozenset(list_currencies())


def other_currency(one: object, other: object) -> bool:
    """Whether both name a currency, and different ones."""
    return isinstance(one, Money) and isinstance(other, Money) and not one.currencies & other.currencies
