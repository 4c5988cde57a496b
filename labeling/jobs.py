"""Jobs of the labeling side. They carry ids; what they do lies in the services."""

import logging

from labeling.models import ImportRun, SchemaMigration
from labeling.services import importing, migrating, webhooks

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


def deliver_webhook(pk: int) -> None:
    """One attempt of a webhook's delivery; at least once, and never by two workers at a time."""
    webhooks.deliver(pk)


def run_schema_migration(pk: int) -> None:
    """Takes labels to another schema, or counts what would come of it. Interrupted, it goes on where it stopped."""
    run = SchemaMigration.objects.select_related("project", "from_version", "to_version", "created_by").filter(pk=pk)
    found = run.first()
    if found is None or not found.claim():
        return
    try:
        migrating.process(found)
    except (migrating.Refused, migrating.MappingError, migrating.ContractError) as error:
        found.fail(str(error))
    except Exception as error:
        logger.exception("schema migration %s failed", pk)
        found.fail(
            f"It stopped: {type(error).__name__}: {str(error)[:300]}. Labels that were taken along so far stay; continue "
            "it to take the rest."
        )
