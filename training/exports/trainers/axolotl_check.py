"""Validates an exported folder with Axolotl: ``python check.py [FOLDER] [TOKENIZER]``, in Axolotl's environment.

Independent of the studio. The configuration goes through Axolotl's validation, and every row through its
``input_output`` strategy with the tokenizer of the base model (or of the folder TOKENIZER); token ids and labels must
be those of the studio's trainer, whose hash is in ``tokens.json``. Prints one JSON object: ok, version, rows, error.
Exits with 1 where it is not ok.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def check(folder: Path, tokenizer_folder: str | None = None) -> dict[str, Any]:
    """The result as a dict; raises whatever Axolotl raises."""
    from importlib.metadata import version

    import yaml
    from axolotl.prompt_strategies import load
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from transformers import AutoTokenizer

    written = yaml.safe_load((folder / "axolotl.yaml").read_text(encoding="utf-8"))
    config = validate_config(DictDefault(written))
    kept = config.to_dict()
    # A setting that Axolotl drops would be ignored without an error.
    lost = sorted(name for name in written if name not in kept and written[name] is not None)
    if lost:
        raise ValueError(f"Axolotl drops {', '.join(lost)}")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder or config.base_model, trust_remote_code=False)
    expected = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    counts = {}
    for part, source in (("train", config.datasets), ("validation", config.test_datasets or [])):
        for dataset in source:
            strategy = load(dataset.type, tokenizer, config, dataset)
            counts[part] = _rows(folder / dataset.path, strategy, expected[part]["sha256"], config.sequence_len)
    return {"ok": True, "version": version("axolotl"), "rows": counts}


def _rows(path: Path, strategy: Any, expected: str, limit: int) -> int:
    """The number of rows; raises ValueError where their ids or labels differ from the expected hash."""
    digest, count = hashlib.sha256(), 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            tokenized = strategy.tokenize_prompt(json.loads(line))
            if len(tokenized["input_ids"]) > limit:
                raise ValueError(f"row {count + 1} of {path.name} has {len(tokenized['input_ids'])} tokens of {limit}")
            digest.update(json.dumps([tokenized["input_ids"], tokenized["labels"]]).encode())
            count += 1
    if digest.hexdigest() != expected:
        raise ValueError(f"the token ids of {path.name} are not those of the studio's trainer")
    return count


def main(arguments: list[str]) -> int:
    """Exit code."""
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    descriptor = os.dup(1)
    os.dup2(2, 1)  # output of the packages goes to stderr
    try:
        result = check(folder, arguments[1] if len(arguments) > 1 else None)
    except BaseException as error:
        result = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    os.write(descriptor, (json.dumps(result) + "\n").encode())
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
