"""The child process that opens Arrow and Parquet files.

``python -m labeling.imports.formats.arrow_child PATH [FOLDER]`` writes the lines of ``arrow.lines`` and then ``.``, or
``x`` and why the file cannot be read. With a folder for its files it writes those of ``arrow.sample_lines`` instead; a
zip is unpacked there. It has a limit on memory and belongs to its parent, so that a hostile file costs only itself.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from labeling.imports.formats import ReadError, arrow
from labeling.imports.formats.scan_child import tie_to_parent
from slmstudio.contract.json_text import dumps

MEMORY_BYTES: Final = 1024**3


def main() -> None:
    """Tells of one file."""
    tie_to_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What the process writes to, and not what it maps to read: the file itself may be larger.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with os.fdopen(os.dup(1), "wb", buffering=1 << 16) as out:
        os.dup2(2, 1)  # whatever a library prints goes to standard error
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
