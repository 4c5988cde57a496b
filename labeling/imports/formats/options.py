"""What a reader can be told besides its file: names, the values that each may have, and a look at them."""

from collections.abc import Mapping
from typing import Any, Final

from labeling.imports.formats import MAPPED
from labeling.imports.formats.table import DELIMITERS, ENCODINGS
from labeling.imports.formats.text import SPLITS

#: when the pages of PDFs and images are read by OCR, and what people call it
OCR: Final = {
    "auto": "Where there is no text",
    "always": "On every page",
    "never": "Never",
}
_CHOICES: Final = {"delimiter": DELIMITERS, "encoding": ENCODINGS, "split": SPLITS, "ocr": OCR}
NAMES: Final = (*_CHOICES, "header", "columns")
#: the same in words, for those who write them by hand
WORDS: Final = (
    "columns (name of a column: its role), delimiter, encoding and header of a table; split of a plain text "
    f"({', '.join(SPLITS)}); ocr of a PDF or an image ({', '.join(OCR)})"
)


def problem(options: Mapping[str, Any], kind: str) -> str:
    """Why these options cannot be, as a sentence; "" where they can. Whether columns fit is seen once they are read."""
    for name, value in options.items():
        if name not in NAMES:
            return f"There is no option {name[:60]}; there are {', '.join(NAMES)}."
        if name in _CHOICES and not (isinstance(value, str) and value in _CHOICES[name]):
            known = ", ".join(repr(choice) for choice in _CHOICES[name])
            return f"{name} must be one of {known}."
        if name == "header" and not isinstance(value, bool):
            return "header must be true or false."
        if name == "columns":
            if kind not in MAPPED:
                return f"columns are of a table: of the kinds {' and '.join(MAPPED)}."
            if not isinstance(value, dict) or not all(isinstance(role, str) for role in value.values()):
                return "columns must be an object: the name of each column, and its role as a text."
    return ""
