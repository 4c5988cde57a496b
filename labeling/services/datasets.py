"""Dataset versions: freezing what is labelled, reading a frozen file, exporting it.

``DatasetVersion.counts`` is ``{"documents", "splits", "origins", "holdout_origins", "tags", "holdout_tags"}``, each but
the first a count by name, and ``"left_out"``: ``{"near_duplicate_of_holdout", "does_not_fit_schema"}``.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import IO, Any

from django.core.files import File
from django.db import connection, transaction
from django.db.models import Count, Max

from labeling import splits
from labeling.models import DatasetItem, DatasetVersion, Document, DocumentState, Gold, Origin, Project, Split
from slmstudio import artifacts
from slmstudio.contract.schema import CompiledSchema, compile_schema, dumps, loads
