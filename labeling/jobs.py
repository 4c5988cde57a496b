"""Jobs of the labeling side. They carry ids; what they do lies in the services."""

import logging

from labeling.models import ImportRun
from labeling.services import importing

logger = logging.getLogger(__name__)


def run_import(pk: int) -> None:
    """Imports the file of an ImportRun. Done once however often it is delivered; a run that has gone ends quietly."""
    run = ImportRun.objects.select_related("project", "created_by").filter(pk=pk).first()
    if run is None or not run.claim():
        return
    try:
        importing.process(run)
    except FileNotFoundError:
        run.fail("The uploaded file is gone from the artifact store. Upload it again.")
    except Exception as error:
        logger.exception("import %s failed", pk)
        run.fail(
            f"The import stopped: {type(error).__name__}: {str(error)[:300]}. What was imported so far stays; import "
            "the file again, and only the rest is added."
        )
