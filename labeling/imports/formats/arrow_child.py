"""The child process that opens Arrow and Parquet files.

``python -m labeling.imports.formats.arrow_child PATH [FOLDER]`` writes the lines of ``arrow.lines`` and then ``.``, or
``x`` and why the file cannot be read. With a folder for temporary files it writes ``arrow.sample_lines`` instead. It
has a memory limit and dies with its parent, so a hostile file affects only its own import.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from labeling.imports.formats import arrow
from labeling.imports.rows import ReadError
from slmstudio.contract.json_text import dumps
from slmstudio.runs.parent_death import die_with_parent

MEMORY_BYTES: Final = 1024**3


def main() -> None:
    """Writes the lines of one file."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Limits written memory, not mapped files: the file itself may be larger.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with os.fdopen(os.dup(1), "wb", buffering=1 << 16) as out:
        os.dup2(2, 1)  # output of libraries goes to standard error
        try:
            for line in (
                arrow.sample_lines(Path(sys.argv[1]), Path(sys.argv[2]))
                if sys.argv[2]
                else arrow.lines(Path(sys.argv[1]))
            ):
                out.write(line.encode() + b"\n")
            out.write(b".\n")
        except ReadError as error:
            out.write(b"x" + dumps(str(error)).encode() + b"\n")
        except MemoryError:
            out.write(b"x" + dumps("Reading it takes too much memory.").encode() + b"\n")


if __name__ == "__main__":
    main()
