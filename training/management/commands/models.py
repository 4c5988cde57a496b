"""``manage.py models``: base models: list them, prepare one, make a local folder known."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.models import BaseModel
from training.services.base_models import (
    find_base_model,
    prepare,
    register_folder,
    register_tiny,
    sync_catalogue,
)
from training.services.runs import Refused


class Command(BaseCommand):
    """``list``, ``prepare SLUG``, ``register SLUG FOLDER`` or ``tiny``."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every base model and whether it is prepared")
        one = actions.add_parser("prepare", help="bring a model into a clean folder, once")
        one.add_argument("slug")
        folder = actions.add_parser("register", help="make a local folder known and prepare it")
        folder.add_argument("slug")
        folder.add_argument("folder", type=Path)
        folder.add_argument("--name", default="")
        folder.add_argument("--licence", default="")
        actions.add_parser("tiny", help="a tiny model with random weights, for trials")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalogue()
        try:
            getattr(self, f"_{options['action']}")(options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _list(self, options: dict[str, Any]) -> None:
        for model in BaseModel.objects.order_by("slug"):
            state = "prepared" if model.ready else "not prepared"
            size = f"{model.parameters / 1e6:.1f} M parameters" if model.parameters else "size not known yet"
            self.stdout.write(
                f"{model.slug:28} {state:13} {size}, {model.context} tokens, {model.licence or 'no licence'}"
            )

    def _prepare(self, options: dict[str, Any]) -> None:
        self._make_ready(find_base_model(options["slug"]))

    def _register(self, options: dict[str, Any]) -> None:
        self._make_ready(
            register_folder(
                slug=options["slug"],
                name=options["name"] or options["slug"],
                folder=options["folder"],
                licence=options["licence"],
            )
        )

    def _tiny(self, options: dict[str, Any]) -> None:
        self._make_ready(register_tiny())

    def _make_ready(self, model: BaseModel) -> None:
        if not model.ready:
            self.stdout.write(f"preparing {model} (once, about a minute)")
        model = prepare(base_model=model)
        self.stdout.write(f"{model.slug} is ready in {model.folder}, {model.sha256[:12]}")
