"""Failure tags: why a document is hard. One vocabulary for annotators, imports, slices and sample data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from labeling.models import Project


@dataclass(frozen=True)
class Tag:
    """The title and description of a failure tag. ``templates``: projects made from other ones do not have it."""

    title: str
    description: str
    templates: tuple[str, ...] = ()


#: tags of a project besides the vocabulary
MAX_OWN_TAGS: Final = 50
FAILURE_TAGS: Final[dict[str, Tag]] = {
    "missing_field": Tag("Missing field", "An expected value is not in the document."),
    "ocr_noise": Tag("OCR noise", "Letters are misread, or words are broken or run together."),
    "unreadable_value": Tag("Unreadable value", "OCR damaged a value; the correct value is not in the text."),
    "several_dates": Tag("Several dates", "More than one date is printed, and only one is correct."),
    "several_totals": Tag(
        "Several totals",
        "More than one amount could be the total.",
        ("invoice", "invoice-with-lines", "receipt"),
    ),
    "ambiguous": Tag("Ambiguous", "A value is ambiguous without its context."),
    "rare_layout": Tag("Rare layout", "The layout differs from that of most other documents."),
    "foreign_format": Tag("Foreign format", "Dates or numbers use another country's format."),
    "other_language": Tag("Other language", "The language differs from that of most other documents."),
    "long_document": Tag("Long document", "Most of the text is not part of any value."),
    "cut_off": Tag("Cut off", "A part of the document is missing."),
    "poor_scan": Tag("Poor scan", "Skewed, faint or stained."),
    "handwriting": Tag("Handwriting", "A relevant value is handwritten."),
    "wrong_kind": Tag("Wrong kind", "The document is not of the expected kind."),
}


def tags_of(project: "Project") -> dict[str, Tag]:
    """The failure tags of a project: the vocabulary, then its own tags in their order."""
    vocabulary = vocabulary_of(project)
    own = {name: Tag(name.replace("_", " "), "A tag of this project.") for name in project.extra_tags}
    return {**vocabulary, **{name: tag for name, tag in own.items() if name not in vocabulary}}


def vocabulary_of(project: "Project") -> dict[str, Tag]:
    """The built-in tags of a project: those of any document, and those of its template."""
    return {name: tag for name, tag in FAILURE_TAGS.items() if not tag.templates or project.template in tag.templates}


def add_own_tags(project: "Project", tags: Iterable[str]) -> None:
    """Adds the tags of imported documents to those of the project, up to its limit. The caller has locked its row."""
    own, vocabulary = list(project.extra_tags), vocabulary_of(project)
    own += [tag for tag in dict.fromkeys(tags) if tag not in vocabulary and tag not in own and "," not in tag]
    if own[:MAX_OWN_TAGS] != project.extra_tags:
        project.extra_tags = own[:MAX_OWN_TAGS]
        project.save(update_fields=["extra_tags"])


def title_of(project: "Project", tag: str) -> str:
    """The title of a failure tag, also of one that the project removed."""
    known = tags_of(project)
    return known[tag].title if tag in known else tag.replace("_", " ")
