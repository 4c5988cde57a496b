"""``manage.py models``: base models: list them, pull one, look one over, make a local folder known.

Exit codes: 0 done, 1 refused or not in order, 2 wrong usage.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from slmstudio.sizes import size_words
from training.services.base_models import (
    check,
    find_base_model,
    named_model,
    prepare,
    register_folder,
    register_tiny,
    sync_catalogue,
)
from training.services.catalogue import Line, lines
from training.services.runs import Refused


class Command(BaseCommand):
    """``list``, ``pull NAME``, ``check SLUG``, ``register SLUG FOLDER`` or ``tiny``."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every base model: licence, size, context, memory, whether it fits and is here")
        one = actions.add_parser("pull", aliases=["prepare"], help="bring a model into a clean, checked folder, once")
        one.add_argument("name", help="a slug of the list, or a hub id: organisation/name[@revision]")
        look = actions.add_parser("check", help="look a prepared model over: files, tokenizer, weights, llama.cpp")
        look.add_argument("slug")
        look.add_argument("--gguf", type=Path, help="a GGUF file of the same model, to hold it against on llama.cpp")
        folder = actions.add_parser("register", help="make a local folder known and prepare it")
        folder.add_argument("slug")
        folder.add_argument("folder", type=Path)
        folder.add_argument("--name", default="")
        folder.add_argument("--licence", default="")
        actions.add_parser("tiny", help="a tiny model with random weights, for trials")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalogue()
        action = {"prepare": "pull"}.get(options["action"], options["action"])
        try:
            getattr(self, f"_{action}")(options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal

    def _list(self, options: dict[str, Any]) -> None:
        found = lines()
        head = f"{'slug':24} {'here':5} {'source':10} {'params':>7} {'context':>8} {'serve':>7}"
        self.stdout.write(f"{head} {'lora':>7} {'qlora':>7} {'full':>7}  16 GB  licence")
        for line in found:
            self.stdout.write(self._row(line))
        for line in found:
            if line.install:
                self.stdout.write(f"{line.model.slug} is not installed: {line.install}")
        self.stdout.write("Memory: to serve one request, and to train on rows of 1,024 tokens, 8 at once, on a CPU.")

    def _row(self, line: Line) -> str:
        model = line.model
        params = f"{model.parameters / 1e6:,.0f} M" if model.parameters >= 1e6 else f"{model.parameters / 1e6:.1f} M"
        memory = [_bytes(number) for number in (line.serve, line.lora, line.qlora, line.full)]
        fits = {True: "fits", False: "no", None: "?"}[line.fits]
        cells = f"{model.slug:24} {'yes' if model.ready else 'no':5} {model.get_source_display():10} {params:>7}"
        return f"{cells} {model.context:8,} {' '.join(f'{one:>7}' for one in memory)}  {fits:5}  {model.licence or '-'}"

    def _pull(self, options: dict[str, Any]) -> None:
        self._make_ready(named_model(options["name"]))

    def _check(self, options: dict[str, Any]) -> None:
        looks = check(base_model=find_base_model(options["slug"]), gguf=options["gguf"])
        for look in looks:
            self.stdout.write(f"{'ok ' if look.ok else 'NOT'} {look.name}: {look.said}")
        if not all(look.ok for look in looks):
            raise CommandError(f"{options['slug']} is not in order.")
        self.stdout.write(f"{options['slug']} is in order.")

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

    def _make_ready(self, model: Any) -> None:
        if not model.ready:
            self.stdout.write(f"preparing {model} (once, a minute or more)")
        model = prepare(base_model=model)
        self.stdout.write(f"{model.slug} is ready in {model.folder}, {model.sha256[:12]}")


def _bytes(number: int | None) -> str:
    return "-" if number is None else size_words(number)
