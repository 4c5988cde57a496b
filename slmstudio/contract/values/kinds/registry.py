"""All kinds by name. A new kind is a ``Kind`` in a module of this package and its name below."""

from slmstudio.contract.values.kinds.amounts import MONEY, NUMBER
from slmstudio.contract.values.kinds.date import DATE
from slmstudio.contract.values.kinds.kind import Kind
from slmstudio.contract.values.kinds.texts import ADDRESS, ARRAY, CLASS, EXACT, FREE, IDENTIFIER, TEXT

#: in the order in which messages list them
KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (EXACT, TEXT, DATE, MONEY, NUMBER, IDENTIFIER, CLASS, ADDRESS, ARRAY, FREE)
}


def kinds_for(type_: str) -> tuple[str, ...]:
    """Names of the kinds that a field of a JSON type may have."""
    return tuple(name for name, kind in KINDS.items() if type_ in kind.types)
