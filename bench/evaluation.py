"""Benchmarks of evaluation: ``python bench/evaluation.py [SECTION ...]``; all sections by default.

scoring      documents scored per second, on one core
generation   documents generated per second, compared with model.generate and llama.cpp (model: SLM_BENCH_MODEL)
comparison   the page of a comparison of 10,000 documents, and of a matrix
"""

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import evaluation_comparison, evaluation_generation, evaluation_scoring  # noqa: E402

SECTIONS: dict[str, Callable[[], None]] = {
    "scoring": evaluation_scoring.main,
    "comparison": evaluation_comparison.main,
    "generation": evaluation_generation.main,
}


def main() -> None:
    """Runs the named sections, or all."""
    unknown = set(sys.argv[1:]) - SECTIONS.keys()
    if unknown:
        sys.exit(f"There is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}.")
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main()
