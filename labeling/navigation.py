"""The labeling app's sections of a project's navigation."""

from slmstudio.access import Action
from slmstudio.navigation import Section, register

register(10, Section("Overview", "house", "project", "o"))
register(20, Section("Contract", "file-earmark-code", "contract", "c", ("contract",)))
register(30, Section("Documents", "files", "documents", "d", ("document", "import")))
register(50, Section("Label", "pencil-square", "label", "l", ("label", "mention")))
register(60, Section("Review", "check2-square", "review", "r", ("review",)))
register(70, Section("Progress", "graph-up", "progress", "p", ("progress",)))
register(80, Section("Datasets", "box-seam", "datasets", "s", ("dataset",)))
register(130, Section("Settings", "gear", "settings", "i", ("settings", "member", "webhook"), Action.ADMINISTER))
