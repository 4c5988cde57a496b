"""``manage.py models``: list, download, verify and register base models.

Exit codes: 0 done, 1 rejected or a failed check, 2 wrong usage.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from slmstudio.errors import Refused
from slmstudio.text.formatting import duration, format_bytes
from training.base_models.preparation import check_model, prepare
from training.base_models.services import find_base_model, register_folder, register_tiny, resolve_model, sync_catalog
from training.base_models.table import ModelRow, model_rows
from training.estimates.estimate import TYPICAL_TOKENS
from training.estimates.machines import gpu_hardware
from training.estimates.services import latency_limit, memory_limit
from training.models import BaseModel


class Command(BaseCommand):
    """``list``, ``pull NAME``, ``check_model SLUG``, ``register SLUG FOLDER`` or ``tiny``."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listed = actions.add_parser("list", help="every base model with its memory and fit")
        listed.add_argument("--project", help="slug of a project, for the hardware and the latency of its contract")
        listed.add_argument("--tokens", type=int, default=TYPICAL_TOKENS, help=f"of a row (default {TYPICAL_TOKENS:,})")
        one = actions.add_parser("pull", aliases=["prepare"], help="download and prepare a model, once")
        one.add_argument("name", help="a slug from the list, or a hub ID: organization/name[@revision]")
        check = actions.add_parser("check", help="verify a prepared model: files, tokenizer, weights, llama.cpp")
        check.add_argument("slug")
        check.add_argument("--gguf", type=Path, help="a GGUF file of the same model, to compare with on llama.cpp")
        folder = actions.add_parser("register", help="register a local folder and prepare it")
        folder.add_argument("slug")
        folder.add_argument("folder", type=Path)
        folder.add_argument("--name", default="")
        folder.add_argument("--licence", default="")
        actions.add_parser("tiny", help="a tiny model with random weights, for tests")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalog()
        action = {"prepare": "pull"}.get(options["action"], options["action"])
        try:
            getattr(self, f"_{action}")(options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _list(self, options: dict[str, Any]) -> None:
        if not 16 <= options["tokens"] <= 131_072:
            raise CommandError("A row has 16 to 131,072 tokens.", returncode=2)
        project, hardware = _project(options["project"]), gpu_hardware()
        limit, latency = memory_limit(project), latency_limit(project)
        found = model_rows(limit_bytes=limit, tokens=options["tokens"], hardware=hardware, latency=latency)
        head = f"{'slug':24} {'here':5} {'source':10} {'params':>7} {'tuned':5} {'context':>8} {'serve':>7}"
        head += f" {'lora':>7} {'qlora':>7} {'full':>7} {'request':>9}  {format_bytes(limit):7} {'license':24}"
        self.stdout.write(f"{head} architecture")
        for line in found:
            self.stdout.write(self._row(line))
        for line in found:
            if line.install:
                self.stdout.write(f"{line.model.slug} is not installed: {line.install}")
        where = f"on {hardware.host}" if hardware else "on a CPU (no worker has reported its hardware)"
        self.stdout.write(
            f"Memory to serve one request, and to train on documents of {options['tokens']:,} tokens with batch size 8 "
            f"{where}; QLoRA on a CUDA GPU. A request is roughly four fifths prompt."
        )
        if latency is not None:
            self.stdout.write(
                f"The contract allows {duration(latency)} per request; slower models are marked with a star."
            )

    def _row(self, line: ModelRow) -> str:
        model = line.model
        params = f"{model.parameters / 1e6:,.0f} M" if model.parameters >= 1e6 else f"{model.parameters / 1e6:.1f} M"
        memory = [_bytes(number) for number in (line.serve, line.lora, line.qlora, line.full)]
        fits = {True: "fits", False: "no", None: "?"}[line.fits]
        request = f"{duration(line.seconds)}{'*' * line.slow}" if line.seconds else "-"
        cells = f"{model.slug:24} {'yes' if model.is_prepared else 'no':5} {model.get_source_display():10} {params:>7}"
        cells += f" {'yes' if model.instruction_tuned else 'no':5} {model.context:8,}"
        known = f"{model.licence or '-':24} {model.architecture or '-'}"
        return f"{cells} {' '.join(f'{one:>7}' for one in memory)} {request:>9}  {fits:7} {known}"

    def _pull(self, options: dict[str, Any]) -> None:
        self._make_ready(resolve_model(options["name"]))

    def _check(self, options: dict[str, Any]) -> None:
        results = check_model(base_model=find_base_model(options["slug"]), gguf=options["gguf"])
        for result in results:
            self.stdout.write(f"{'ok ' if result.ok else 'NOT'} {result.name}: {result.detail}")
        if not all(result.ok for result in results):
            raise CommandError(f"{options['slug']} failed a check.")
        self.stdout.write(f"{options['slug']} passed all checks.")

    def _register(self, options: dict[str, Any]) -> None:
        self._make_ready(
            register_folder(
                slug=options["slug"],
                name=options["name"] or options["slug"],
                folder=options["folder"],
                licence=options["license"],
            )
        )

    def _tiny(self, options: dict[str, Any]) -> None:
        self._make_ready(register_tiny())

    def _make_ready(self, model: BaseModel) -> None:
        if not model.is_prepared:
            self.stdout.write(f"preparing {model} (once, a minute or more)")
        model = prepare(base_model=model)
        self.stdout.write(f"{model.slug} is ready in {model.folder}, {model.sha256[:12]}")


def _project(slug: str | None) -> Project | None:
    if not slug:
        return None
    project: Project | None = Project.objects.filter(slug=slug).select_related("contract").first()
    if project is None:
        raise CommandError(f"Project {slug!r} not found.")
    return project


def _bytes(number: int | None) -> str:
    return "-" if number is None else format_bytes(number)
