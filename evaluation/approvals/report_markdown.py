"""A gate report as a Markdown file."""

from datetime import datetime
from typing import Any

from evaluation.approvals.report import Account
from slmstudio.web.markdown import render_markdown


def report_markdown(account: Account, *, address: str, by: Any, at: datetime) -> str:
    """The report as of ``at``, exported by the user ``by``. ``address``: URL of its page."""
    context = {**vars(account), "void": account.void, "confidences": account.confidences}
    return render_markdown("evaluation/approvals/report.md", {**context, "address": address, "by": by, "at": at})
