"""Mappings between two schemas: the differences, the steps, and their effect on labels. Pure.

A mapping is a list of steps, which are applied in this order:

    {"do": "split",   "field": "address", "by": "(?P<street>.+), (?P<city>.+)", "into": {"street": "street", ...}}
    {"do": "rename",  "field": "vendor", "to": "seller.name"}
    {"do": "replace", "field": "currency", "values": {"\\"EURO\\"": "\\"EUR\\""}}     JSON texts, old -> new
    {"do": "convert", "field": "total"}                                            parsed as the new type
    {"do": "drop",    "field": "comment"}
    {"do": "default", "field": "currency", "value": "EUR"}                         if it is absent

``field`` is a pattern of the old schema; for ``replace``, ``convert`` and ``default``, which follow the renaming, of
the new one. Steps apply to each row of an array, so a field cannot leave its array. A value that a step cannot parse is
unchanged; the new schema validates it.

``differences`` compares schemas and suggests steps, ``steps`` validates them, ``application`` applies them.
"""

from labeling.schema_migration.mapping.application import mapper
from labeling.schema_migration.mapping.differences import Difference, difference, suggest_mapping
from labeling.schema_migration.mapping.patterns import last_name, rows_of
from labeling.schema_migration.mapping.reasons import reason
from labeling.schema_migration.mapping.steps import MappingError, Step, check, in_words

__all__ = [
    "Difference",
    "MappingError",
    "Step",
    "check",
    "difference",
    "in_words",
    "last_name",
    "mapper",
    "reason",
    "rows_of",
    "suggest_mapping",
]
