"""Replicas without a model, and a ``serve`` that starts them: everything else is the real code.

python -m bench.serving_replica serve
python -m bench.serving_replica FOLDER --address ADDRESS ...   as ``serving.ml.replica``

A document is answered after some milliseconds with the number in it, or after a minute where it says "slow". The file
``schema`` in the folder has the hash that the replica reports.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from serving.ml import replica
from serving.ml.loading import LoadedPackage
from serving.replicas.protocol import ModelOutput

MODEL_SECONDS = 0.02
SLOW_SECONDS = 60.0


class NoModel:
    """An engine that copies the number of an invoice."""

    def __init__(self) -> None:
        self.slow = 0

    async def start(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to free."""

    async def answer(self, text: str) -> ModelOutput:
        """The number of the document, as an invoice."""
        is_slow = "slow" in text
        self.slow += is_slow
        try:
            await asyncio.sleep(SLOW_SECONDS if is_slow else MODEL_SECONDS)
        finally:
            self.slow -= is_slow
        number = re.search(r"\d+", text)
        output = {"invoice_id": number[0] if number else None, "date": None, "vendor": None, "total_amount": None}
        return ModelOutput(json.dumps(output), "stop", 0.0, 1_000 * MODEL_SECONDS, 300, 40, {"invoice_id": (0.9, 0.95)})

    @property
    def version(self) -> str:
        """Its name."""
        return "none 1"

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        """The constant that the probe asks for."""
        return json.dumps({"nonce": json.loads(schema)["properties"]["nonce"]["const"]})

    async def metrics(self) -> str:
        """How many slow documents are being answered."""
        return f"slow {self.slow}\n"


def _load(folder: Path, *, sha256: str = "", slots: int = 1, variant: str = "") -> LoadedPackage:
    schema: Any = SimpleNamespace(hash=(folder / "schema").read_text())
    spec: Any = SimpleNamespace(to_yaml=lambda: "", key=variant)
    return LoadedPackage(spec, sha256, schema, NoModel())


def main() -> int:
    """The process of a replica, or ``serve``."""
    if sys.argv[1:] == ["serve"]:
        import django
        from django.core.management import call_command

        django.setup()
        from serving.replicas.supervisor import ReplicaProcess

        ReplicaProcess.module = "bench.serving_replica"
        call_command("serve")
        return 0
    replica.load_package = _load  # type: ignore[attr-defined]
    return replica.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
