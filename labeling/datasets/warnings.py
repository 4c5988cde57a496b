"""What to know about a dataset version before a model is trained or evaluated on it."""

from collections.abc import Mapping

from django.utils.translation import ngettext

from labeling.models import DatasetVersion, Split

#: documents of a split below which its results say little
FEW = 20
#: validation documents below which the curves of a run say little
FEW_IN_CURVES = 5
#: what a training run needs, and a search, which chooses on validation
OF_TRAINING = {Split.TRAIN: FEW, Split.VALIDATION: FEW_IN_CURVES}
OF_SEARCH = {Split.TRAIN: FEW, Split.VALIDATION: FEW}


def dataset_warnings(dataset: DatasetVersion, least: Mapping[Split, int]) -> list[str]:
    """Warnings about a version: its schema is not the current one, or a split has less documents than ``least``."""
    warnings = []
    current = dataset.project.schema_version
    if dataset.schema_version_id != current.pk:
        warnings.append(
            f"{str(dataset).capitalize()} uses schema {dataset.schema_version}, but the current schema is {current}. "
            "Models trained or evaluated on it use the old schema. Freeze a new version."
        )
    for split, minimum in least.items():
        count = dataset.counts.get("splits", {}).get(split, 0)
        if count < minimum:
            documents = ngettext("document", "documents", count)
            name = "training" if split == Split.TRAIN else split.label.lower()
            warnings.append(f"{count} {name} {documents}: too few for reliable results. Label at least {minimum}.")
    return warnings
