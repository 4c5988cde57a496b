"""How labels are taken from one schema to another: what differs, steps that bridge it, and their effect. Pure.

A mapping is a list of steps, done in this order whatever the order of the list:

    {"do": "split",   "field": "address", "by": "(?P<street>.+), (?P<city>.+)", "into": {"street": "street", ...}}
    {"do": "rename",  "field": "vendor", "to": "seller.name"}
    {"do": "replace", "field": "currency", "values": {"\\"EURO\\"": "\\"EUR\\""}}     JSON texts, old -> new
    {"do": "convert", "field": "total"}                                            read again as the new type
    {"do": "drop",    "field": "comment"}
    {"do": "default", "field": "currency", "value": "EUR"}                         where there is none

``field`` is a pattern of the old schema; for ``replace``, ``convert`` and ``default``, which come after the renaming,
of the new one. Within the rows of an array a step works row by row, so a field cannot leave its array. What a step
cannot read stays as it is, and the new schema judges it.

``differences`` says what differs and suggests steps, ``steps`` checks them, ``applying`` does them.
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
