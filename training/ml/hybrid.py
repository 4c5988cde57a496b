"""The folder of a hybrid model: a decoder, an encoder in a folder below it, and when the decoder answers.

``hybrid.json`` has the thresholds by field. Whatever reads the folder as a decoder gets the decoder.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slmstudio.errors import Refused
from training.ml.encoders.folder import HeadsDescription
from training.ml.events import Emitter
from training.ml.loop import artifacts
from training.ml.modeling.folder_checks import check_decoder, check_folder, check_ref
from training.ml.prepare import count_parameters
from training.spec import CARD_FILES, RunSpec

FORMAT = 1
DESCRIPTION, ENCODER = "hybrid.json", "encoder"


@dataclass(frozen=True)
class HybridDescription:
    """``thresholds``: as ``training.spec.HybridRef``."""

    thresholds: Mapping[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes ``hybrid.json``."""
        artifacts.write_json(folder / DESCRIPTION, {"format": FORMAT, "thresholds": dict(self.thresholds)})

    @classmethod
    def load(cls, folder: Path) -> "HybridDescription | None":
        """Reads ``hybrid.json``; None for a folder of one model. Raises Refused where it is not valid."""
        path = folder / DESCRIPTION
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise Refused(f"{DESCRIPTION} has the unknown format {values['format']}.", code="model")
            return cls({str(name): float(threshold) for name, threshold in values["thresholds"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{DESCRIPTION} is not valid: {error}", code="model") from error


def assemble(spec: RunSpec, emitter: Emitter) -> None:
    """Makes the folder of a spec with ``hybrid``; events as those of a training without steps.

    Raises:
        Refused: a model is missing, has changed, or is not of its family.
    """
    assert spec.hybrid is not None
    began = time.monotonic()
    decoder, encoder = Path(spec.hybrid.decoder.path), Path(spec.hybrid.encoder.path)
    check_decoder(check_ref(spec.hybrid.decoder))
    check_ref(spec.hybrid.encoder)
    HeadsDescription.load(encoder)
    emitter.emit(
        "start",
        total_steps=0,
        parameters=count_parameters(decoder) + count_parameters(encoder),
        trainable_parameters=0,
        resumed_from=0,
    )
    folder = Path(spec.output_dir) / "merged"
    shutil.rmtree(folder, ignore_errors=True)
    cards = shutil.ignore_patterns(*CARD_FILES)  # those of the two models; the hybrid gets its own
    try:
        shutil.copytree(decoder, folder, ignore=cards)
        shutil.copytree(encoder, folder / ENCODER, ignore=cards)
        HybridDescription({name: float(value) for name, value in spec.hybrid.thresholds.items()}).save(folder)
        check_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    artifacts.emit_artifact(emitter, "merged", folder)
    emitter.emit("done", seconds=round(time.monotonic() - began, 1), steps=0, tokens=0, stopped=False, best_step=None)
