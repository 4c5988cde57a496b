"""``manage.py models``: list, download, verify and register base models.

Exit codes: 0 done, 1 rejected or a failed check, 2 wrong usage.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from slmstudio.errors import Refused
from training.base_models.preparation import check_model, prepare
from training.base_models.services import find_base_model, register_folder, register_tiny, resolve_model, sync_catalog
from training.models import BaseModel


class Command(BaseCommand):
    """``list``, ``download NAME``, ``check SLUG``, ``register SLUG FOLDER`` or ``tiny``."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every base model; the page of base models shows memory and fit")
        download = actions.add_parser("download", help="download and prepare a model, once")
        download.add_argument("name", help="a slug from the list, or a hub ID: organization/name[@revision]")
        check = actions.add_parser("check", help="verify a prepared model: files, tokenizer, weights, llama.cpp")
        check.add_argument("slug")
        check.add_argument("--gguf", type=Path, help="a GGUF file of the same model, to compare with on llama.cpp")
        folder = actions.add_parser("register", help="register a local folder and prepare it")
        folder.add_argument("slug")
        folder.add_argument("folder", type=Path)
        folder.add_argument("--name", default="")
        folder.add_argument("--license", default="")
        actions.add_parser("tiny", help="a tiny model with random weights, for tests")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalog()
        try:
            getattr(self, f"_{options['action']}")(options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _list(self, options: dict[str, Any]) -> None:
        head = f"{'slug':32} {'prepared':8} {'family':8} {'source':12} {'parameters':>10} {'context':>8}  license"
        self.stdout.write(head)
        for model in BaseModel.objects.by_size():
            prepared, source = "yes" if model.is_prepared else "no", model.get_source_display()
            size = f"{model.parameters / 1e6:,.0f} M"
            known = f"{model.slug:32} {prepared:8} {model.family:8} {source:12} {size:>10} {model.context:8,}"
            self.stdout.write(f"{known}  {model.licence or '-'}")

    def _download(self, options: dict[str, Any]) -> None:
        self._make_ready(resolve_model(options["name"]))

    def _check(self, options: dict[str, Any]) -> None:
        results = check_model(base_model=find_base_model(options["slug"]), gguf=options["gguf"])
        for result in results:
            self.stdout.write(f"{'ok ' if result['ok'] else 'NOT'} {result['name']}: {result['detail']}")
        if not all(result["ok"] for result in results):
            raise CommandError(f"{options['slug']} failed a check.")
        self.stdout.write(f"{options['slug']} passed all checks.")

    def _register(self, options: dict[str, Any]) -> None:
        name = options["name"] or options["slug"]
        folder, licence = options["folder"], options["license"]
        self._make_ready(register_folder(slug=options["slug"], name=name, folder=folder, licence=licence))

    def _tiny(self, options: dict[str, Any]) -> None:
        self._make_ready(register_tiny())

    def _make_ready(self, model: BaseModel) -> None:
        if not model.is_prepared:
            self.stdout.write(f"preparing {model} (once, a minute or more)")
        model = prepare(base_model=model)
        self.stdout.write(f"{model.slug} is ready in {model.folder}, {model.sha256[:12]}")
