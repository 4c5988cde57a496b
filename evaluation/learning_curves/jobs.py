"""The background job of a learning curve of the classifier."""

import logging

from evaluation.learning_curves import services
from evaluation.models import LearningCurve

logger = logging.getLogger(__name__)


def run_learning_curve(pk: int) -> None:
    """Measures the classifier on each subset. Idempotent; measured points are kept."""
    rows = LearningCurve.objects.select_related("project", "dataset__schema_version")
    curve = rows.filter(pk=pk, base_model=None).first()
    if curve is None or not curve.claim():
        return
    try:
        services.measure_classifier(curve)
    except FileNotFoundError as error:
        curve.fail(str(error))
    except Exception as error:
        logger.exception("learning curve %s failed", pk)
        curve.fail(f"The curve was not measured: {type(error).__name__}: {str(error)[:300]}.")
