"""``manage.py rqworker``: django-rq's worker with the JSON serializer of the queues in the settings."""

from argparse import ArgumentParser
from typing import Any

from django_rq.management.commands.rqworker import Command as RqWorker

from slmstudio.database.migrated import require_migrated
from slmstudio.workers.worker import WORKER_TTL


class Command(RqWorker):
    """The worker of django-rq reads pickles by default; this application never pickles."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(serializer="rq.serializers.JSONSerializer", worker_ttl=WORKER_TTL)

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        super().handle(*args, **options)
