"""How many schemas of a folder are accepted, and why others are not: ``python -m bench.pasted_schemas FOLDER``.

Each ``.json`` file with an object is pasted as it is. Files that are no schemas count as refusals.
"""

import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from slmstudio.contract.decoding.grammar import grammar
from slmstudio.contract.json_text import JsonError
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.translation.translation import translate

#: seconds for one schema
LIMIT = 60


class _TooSlowError(Exception):
    """A schema takes longer than ``LIMIT``."""


def _stop(*_: Any) -> None:
    raise _TooSlowError


def refusal(text: str) -> str:
    """Why a schema is refused or gives no grammar, without the names in it; "" if it is accepted."""
    signal.alarm(LIMIT)
    try:
        compiled = translate(text).compiled
        return "" if compiled.fields and grammar(compiled.schema) else "it has no fields"
    except SchemaError as error:
        return re.sub(r"'[^']*'|\d[\d,]*|\(.*\)", "…", error.message)
    except JsonError:
        return "it is not JSON"
    except ValueError as error:
        return str(error)[:100]
    except _TooSlowError:
        return f"it takes more than {LIMIT} seconds"
    finally:
        signal.alarm(0)


def main(folder: str) -> None:
    """Prints the share that is accepted, the causes of refusals with an example each, and the slowest schema."""
    signal.signal(signal.SIGALRM, _stop)
    causes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    slowest = (0.0, "")
    for path in sorted(Path(folder).rglob("*.json")):
        began = time.monotonic()
        cause = refusal(path.read_text(errors="replace"))
        causes[cause] += 1
        examples.setdefault(cause, str(path))
        slowest = max(slowest, (time.monotonic() - began, str(path)))
    total, accepted = causes.total(), causes.pop("", 0)
    print(f"{accepted:,} of {total:,} accepted ({accepted / max(total, 1):.1%})")
    for cause, count in causes.most_common():
        print(f"{count:6,}  {cause}  ({examples[cause]})")
    print(f"slowest: {slowest[0]:.1f} s, {slowest[1]}")


if __name__ == "__main__":
    main(sys.argv[1])
