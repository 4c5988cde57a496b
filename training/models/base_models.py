"""Base models, their downloads, and the token lengths of datasets under their tokenizers."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from django.db import models

from labeling.models import DatasetVersion, Split
from slmstudio.runs.models import BackgroundRun, RunQuerySet, Status
from training.licenses import LicenseRecord, license_record


def _slug_text(text: object) -> str:
    """The slug in a value of a request."""
    return str(text or "").replace("\0", "")


class BaseModelQuerySet(models.QuerySet["BaseModel"]):
    """Named reads of base models."""

    def by_size(self) -> Self:
        """Smallest first."""
        return self.order_by("parameters", "name")

    def prepared(self) -> Self:
        """Those with a prepared folder."""
        return self.exclude(sha256="")

    def usable(self, keep: object = "") -> Self:
        """Those whose preparation has not failed, which forms offer; ``keep``: the slug of one that stays anyway."""
        failed = models.Q(sha256="", download__status=Status.FAILED) & ~models.Q(slug=_slug_text(keep))
        return self.exclude(failed)

    def with_slug(self, text: object) -> "BaseModel | None":
        """The model with the slug of a request, or None."""
        return self.filter(slug=_slug_text(text)).first()

    def decoders(self) -> Self:
        """Those that generate text."""
        return self.filter(family=BaseModel.Family.DECODER)

    def default(self) -> "BaseModel | None":
        """The model that a new run starts from: a usable decoder that is prepared, else local, else any;
        instruction-tuned and large first.
        """
        ranked = self.usable().decoders().order_by("-instruction_tuned", "-parameters")
        return ranked.prepared().first() or ranked.exclude(source=BaseModel.Source.HUB).first() or ranked.first()


class BaseModel(models.Model):
    """A model that can be fine-tuned or benchmarked, shared by all projects."""

    class Source(models.TextChoices):
        """Where the weights come from."""

        PACKAGED = "packaged", "Packaged"
        FOLDER = "folder", "Local folder"
        HUB = "hub", "Hub"

    class Family(models.TextChoices):
        """How a model answers: a decoder generates the output, an encoder reads the document and has heads."""

        DECODER = "decoder", "Decoder"
        ENCODER = "encoder", "Encoder"

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    family = models.CharField(max_length=10, choices=Family.choices, default=Family.DECODER)
    source = models.CharField(max_length=10, choices=Source.choices)
    location = models.CharField(max_length=300, help_text="package name, folder or hub id")
    reference = models.CharField(max_length=200, blank=True, help_text="hub id")
    licence = models.CharField(max_length=80, blank=True)
    parameters = models.BigIntegerField(default=0)
    context = models.PositiveIntegerField(default=0, help_text="tokens")
    instruction_tuned = models.BooleanField(default=False)
    architecture = models.CharField(max_length=80, blank=True, help_text="class named in config.json")
    shape = models.JSONField(
        default=dict, blank=True, help_text="layers, widths and heads; see training.model_shape.ModelShape"
    )
    size_bytes = models.BigIntegerField(default=0, help_text="of the prepared folder")
    revision = models.CharField(max_length=64, blank=True, help_text="commit on the hub")
    folder = models.CharField(max_length=300, blank=True, help_text="prepared model folder; empty until prepared")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the prepared folder")

    objects: ClassVar[models.Manager["BaseModel"]] = BaseModelQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def is_prepared(self) -> bool:
        """Whether its folder can be loaded."""
        return bool(self.folder and self.sha256)

    @property
    def is_encoder(self) -> bool:
        """Whether it answers with heads, and does not generate text."""
        return self.family == self.Family.ENCODER

    @property
    def is_local(self) -> bool:
        """Whether nothing must be downloaded: prepared, packaged, or a folder of this machine."""
        return self.source != self.Source.HUB or (self.is_prepared and Path(self.folder).is_dir())

    @property
    def license_record(self) -> LicenseRecord:
        """The terms of its license."""
        return license_record(self.licence)

    @property
    def prompt(self) -> Literal["chat", "plain"]:
        """``chat``: its own chat template; ``plain``: the studio's prompt, for models without instruction tuning."""
        return "chat" if self.instruction_tuned else "plain"


class ModelDownload(BackgroundRun):
    """Prepares a base model in its folder, on request from a page. One row per model; a new request runs it again.

    It runs in the queue of imports, so that freezes, exports and webhooks do not wait for a download.
    """

    job_name = "training.base_models.preparation.download_model"
    queue_name = "imports"
    job_timeout = -1  # no limit: a download can take hours

    base_model = models.OneToOneField(BaseModel, on_delete=models.CASCADE, related_name="download")

    def __str__(self) -> str:
        return f"download of {self.base_model}"


class LengthReportQuerySet(RunQuerySet["LengthReport"]):
    """Named reads of length reports."""

    def of(self, dataset: DatasetVersion, base_model: BaseModel) -> "LengthReport | None":
        """The report of a dataset version under a base model, with the base model."""
        return self.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()


class LengthReport(BackgroundRun):
    """Token lengths of every row of a dataset version under a base model's tokenizer."""

    job_name = "training.runs.jobs.measure_lengths"

    dataset = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="length_reports")
    base_model = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="length_reports")
    model_sha256 = models.CharField(max_length=64, blank=True, help_text="of the base model it was measured with")
    longest = models.PositiveIntegerField(
        default=0, help_text="tokens of the longest prompt with its completion, without the hold-out"
    )
    lengths = models.JSONField(default=list, help_text="[id, split, prompt tokens, completion tokens] per row")

    objects: ClassVar = LengthReportQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "base_model"], name="length_report_once")]

    def __str__(self) -> str:
        return f"lengths of {self.dataset} under {self.base_model}"

    @property
    def is_current(self) -> bool:
        """Done, and measured with the base model as it is now."""
        return self.status == Status.DONE and self.model_sha256 == self.base_model.sha256

    @property
    def sample_key(self) -> str:
        """Key of the file with the first row of each split as the model reads it: split -> {id, prompt, completion}."""
        return f"lengths/{self.pk}.seen.json"

    def totals(self, split: str | None = None) -> list[tuple[str, int]]:
        """Id and tokens (prompt with completion) of each row of a split; without one, of all but the hold-out."""
        return [
            (row_id, prompt + completion)
            for row_id, row_split, prompt, completion in self.lengths
            if (row_split == split if split else row_split != Split.HOLDOUT)
        ]

    def too_long(self, limit: int, split: str | None = None) -> list[str]:
        """Ids of the rows longer than ``limit`` tokens, of training and validation unless a split is given."""
        return [row_id for row_id, tokens in self.totals(split) if tokens > limit]
