"""``manage.py rqworker``: django-rq's worker, speaking JSON as the queues of the settings do."""

from argparse import ArgumentParser

from django_rq.management.commands.rqworker import Command as RqWorker

from slmstudio.workers.worker import WORKER_TTL


class Command(RqWorker):
    """The worker of django-rq reads pickles unless it is told otherwise; nothing here is ever pickled."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(serializer="rq.serializers.JSONSerializer", worker_ttl=WORKER_TTL)
