"""The labeling app's sections of a project's navigation."""

from slmstudio.access import TABLE, Action, Role
from slmstudio.navigation import ENGINEERS, EVERYONE, Section, register

register(10, Section(title="Overview", icon="house", view="project", key="o"))
register(
    20,
    Section(
        title="Contract",
        icon="file-earmark-code",
        view="contract",
        key="c",
        pages=("contract",),
        roles=ENGINEERS | {Role.MANAGER},
    ),
)
register(30, Section(title="Documents", icon="files", view="documents", key="d", pages=("document", "import")))
register(
    50,
    Section(
        title="Label",
        icon="pencil-square",
        view="label",
        key="l",
        pages=("label", "mention"),
        roles=EVERYONE - {Role.MANAGER},
    ),
)
register(
    60,
    Section(
        title="Review",
        icon="check2-square",
        view="review",
        key="r",
        pages=("review",),
        roles=EVERYONE - {Role.MANAGER},
    ),
)
register(70, Section(title="Progress", icon="graph-up", view="progress", key="p", pages=("progress",)))
register(
    105,
    Section(
        title="Studies",
        icon="clipboard-data",
        view="studies",
        key="u",
        pages=("stud",),
        roles=ENGINEERS | {Role.MANAGER},
    ),
)
register(80, Section(title="Datasets", icon="box-seam", view="datasets", key="s", pages=("dataset",), roles=ENGINEERS))
register(
    140,
    Section(
        title="Settings",
        icon="gear",
        view="settings",
        key="i",
        pages=("settings", "member", "webhook"),
        roles=TABLE[Action.ADMINISTER],
    ),
)
