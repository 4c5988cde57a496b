"""The contract panel of the home page."""

from django.contrib.auth.models import User

from labeling.models import Project
from slmstudio.panels import PanelContent, register


@register("home", 90)
def contract_panel(project: Project, user: User) -> PanelContent:
    """The instruction and fields of the contract."""
    version = project.schema_version
    return PanelContent(
        "labeling/projects/panel.html",
        {"contract": project.contract, "version": version, "fields": version.compiled.fields},
    )
