"""A gate report as a Markdown file."""

from datetime import datetime
from typing import Any

from evaluation.approvals.report import ReportContent
from slmstudio.web.markdown import render_markdown


def report_markdown(content: ReportContent, *, address: str, by: Any, at: datetime) -> str:
    """The report as of ``at``, exported by the user ``by``. ``address``: URL of its page."""
    context = {**vars(content), "void": content.void, "confidences": content.confidences}
    return render_markdown("evaluation/approvals/report.md", {**context, "address": address, "by": by, "at": at})
