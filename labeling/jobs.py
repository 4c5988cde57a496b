"""Background jobs of the labeling app. Their arguments are ids; the services do the work."""

import logging

from labeling.contract.errors import ContractError
from labeling.datasets import freeze
from labeling.documents import bulk_edit, search_index
from labeling.imports import services as import_services
from labeling.imports.rows import ReadError
from labeling.integrations import deliveries
from labeling.models import BulkEdit, FreezeRun, ImportRun, IndexRun, SchemaMigration
from labeling.schema_migration import services as schema_migration_services
from labeling.schema_migration.mapping import MappingError
from slmstudio.errors import Refused

logger = logging.getLogger(__name__)


def run_import(pk: int) -> None:
    """Runs an import. Idempotent; a deleted run is ignored."""
    run = ImportRun.objects.select_related("project", "created_by").filter(pk=pk).first()
    if run is None or not run.claim(attempts=run.attempts + 1):
        return
    try:
        import_services.process(run)
    except ReadError as error:
        import_services.fail(run, f"{error} Imported documents are kept." if run.imported else str(error))
    except FileNotFoundError:
        import_services.fail(run, "The uploaded file is missing from the artifact store. Upload it again.")
    except Exception as error:
        logger.exception("import %s failed", pk)
        import_services.fail(
            run,
            f"The import failed: {type(error).__name__}: {str(error)[:300]}. Imported documents are kept; restart "
            "the import to add the rest.",
        )


def run_indexing(pk: int) -> None:
    """Indexes new documents of a project. After an interruption the next run continues."""
    run = IndexRun.objects.filter(pk=pk).first()
    if run is None or not run.claim():
        return
    try:
        search_index.process(run)
    except Exception as error:
        logger.exception("indexing %s failed", pk)
        run.fail(f"Indexing failed: {type(error).__name__}: {str(error)[:300]}. It restarts automatically.")


def deliver_webhook(pk: int) -> None:
    """Makes an attempt of a webhook delivery; never in two workers at a time."""
    deliveries.deliver(pk)


def run_schema_migration(pk: int) -> None:
    """Migrates labels to another schema, or counts the result in a dry run. An interrupted run resumes."""
    run = SchemaMigration.objects.select_related("project", "from_version", "to_version", "created_by").filter(pk=pk)
    found = run.first()
    if found is None or not found.claim():
        return
    try:
        schema_migration_services.process(found)
    except (Refused, MappingError, ContractError) as error:
        found.fail(str(error))
    except Exception as error:
        logger.exception("schema migration %s failed", pk)
        found.fail(
            f"The migration failed: {type(error).__name__}: {str(error)[:300]}. Migrated labels are kept; resume it to "
            "migrate the rest."
        )


def run_freeze(pk: int) -> None:
    """Freezes a dataset version. Idempotent; an interrupted run leaves nothing."""
    run = FreezeRun.objects.select_related("project", "created_by").filter(pk=pk).first()
    if run is None or not run.claim():
        return
    try:
        freeze.process(run)
    except Exception as error:
        logger.exception("freeze %s failed", pk)
        run.fail(f"Freezing failed: {type(error).__name__}: {str(error)[:300]}. No version was created. Try again.")


def run_bulk_edit(pk: int) -> None:
    """Runs a bulk edit. Idempotent: a repeated run changes the remaining documents."""
    edit = BulkEdit.objects.select_related("project", "created_by").filter(pk=pk).first()
    if edit is None or not edit.claim():
        return
    try:
        bulk_edit.process(edit)
    except FileNotFoundError:
        edit.fail("The file with the previous values is missing from the artifact store, so nothing was undone.")
    except Exception as error:
        logger.exception("bulk edit %s failed", pk)
        edit.fail(
            f"The edit failed: {type(error).__name__}: {str(error)[:300]}. Documents that were changed stay changed."
        )
