"""The fingerprint of a model on a server elsewhere, whose files cannot be hashed: its greedy outputs for fixed texts.

They are recorded when the variant passes its parity check, and compared when a replica starts. Two nearly equal tokens
can swap on another processor or in another batch, so one of them may differ.
"""

import json
from pathlib import Path

from serving.ml.loading import LoadedPackage
from serving.packages.spec import FINGERPRINTS
from slmstudio.errors import Refused
from training.ml.llama_cpp.runtime import TEXTS

_TEXTS = TEXTS[:3]
#: outputs that must be equal
_EQUAL = 2


async def fingerprint(package: LoadedPackage) -> list[str]:
    """The outputs of a started package for the fixed texts.

    Raises:
        Refused: (code ``engine``) the engine fails.
    """
    outputs = []
    for text in _TEXTS:
        answer = await package.engine.answer(text)
        if answer.finish_reason == "error":
            raise Refused(answer.error, code="engine")
        outputs.append(answer.raw)
    return outputs


async def check_fingerprint(folder: Path, package: LoadedPackage) -> None:
    """Compares a server elsewhere with the build; does nothing for engines that load the package's own files.

    Raises:
        Refused: (code ``identity``) it serves another model.
    """
    if not getattr(package.engine, "is_remote", False):
        return
    file = folder / FINGERPRINTS
    recorded = json.loads(file.read_text(encoding="utf-8")).get(package.spec.key, []) if file.is_file() else []
    outputs = await fingerprint(package)
    if sum(old == new for old, new in zip(recorded, outputs, strict=False)) < _EQUAL:
        raise Refused("The server's outputs differ from those of the checked model.", code="identity")
