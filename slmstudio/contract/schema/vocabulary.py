"""The words of the dialect, for editors: what can be written where."""

from functools import cache
from pathlib import Path
from typing import Any

from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.dialect import FORMATS
from slmstudio.contract.schema.keywords import ANNOTATIONS, LISTS, MAPS, PLAIN, SINGLES, TYPES
from slmstudio.contract.values.kinds.registry import KINDS


@cache
def vocabulary() -> dict[str, Any]:
    """JSON-ready. ``maps``, ``lists``, ``singles`` and ``plain``: keywords by the schemas in their values; ``options``:
    those of ``x-slm``, each with its description and its values if they are a fixed set.
    """
    schema = loads(Path(__file__).with_name("x_slm.schema.json").read_text("utf-8"))
    options = {
        name: {
            "description": option["description"],
            "values": option.get("enum", option.get("items", {}).get("enum", [])) if name != "kind" else list(KINDS),
        }
        for name, option in schema["properties"].items()
    }
    return {
        "maps": list(MAPS),
        "lists": list(LISTS),
        "singles": list(SINGLES),
        "plain": [word for word in PLAIN if word not in ANNOTATIONS],
        "types": list(TYPES),
        "formats": list(FORMATS),
        "options": options,
    }
