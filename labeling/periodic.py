"""The periodic tasks of the labeling app."""

from labeling.documents import search_index
from labeling.integrations import deliveries
from labeling.queue_order import study as queue_order
from labeling.studies import services as studies
from slmstudio.periodic import PeriodicTask

TASKS = [
    PeriodicTask("webhooks", 5, deliveries.queue_due),
    PeriodicTask("old webhook deliveries", 600, deliveries.delete_old),
    PeriodicTask("search index", 30, search_index.index_all),
    PeriodicTask("studies", 30, studies.advance_all),
    PeriodicTask("queue orders", 30, queue_order.update_all, lock="queue orders"),
]
