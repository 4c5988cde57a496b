"""The navigation of a project's pages. Each app registers its sections when Django starts."""

from dataclasses import dataclass

from slmstudio.access import Role

EVERYONE = frozenset(Role)
#: who prepares data, trains and evaluates
ENGINEERS = frozenset({Role.ENGINEER, Role.OWNER})


@dataclass(frozen=True, kw_only=True)
class Section:
    """One entry of the navigation. Its values are named where it is registered, so that the icon is found there.

    ``view`` is the name of the page it links to; the entry is the current one on pages whose name starts with one of
    ``pages`` (empty: on ``view`` alone). ``key`` is its keyboard shortcut after ``g``; ``roles`` those whose
    work it is: the others can open its pages (``slmstudio.access`` decides), but have no entry.
    """

    title: str
    icon: str
    view: str
    key: str
    pages: tuple[str, ...] = ()
    roles: frozenset[Role] = EVERYONE

    def is_current(self, page: str) -> bool:
        """Whether a page, by its name, belongs to this section."""
        return page.startswith(self.pages) if self.pages else page == self.view


_sections: list[tuple[int, Section]] = []


def register(order: int, section: Section) -> None:
    """Adds a section; a lower ``order`` comes first. The order follows the loop from contract to approval."""
    _sections.append((order, section))
    _sections.sort(key=lambda item: item[0])


def sections() -> list[Section]:
    """The sections of all apps in order."""
    return [section for _, section in _sections]
