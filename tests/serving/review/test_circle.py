"""The whole circle: a request through a gateway, feedback, review, a label, and the judgment by it."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from labeling.annotation import services as annotation
from labeling.models import Document
from serving.models import Judgment, RequestLog, SamplePlan
from serving.models.review import ReviewItem
from serving.review import queue
from serving.review.accuracy import live_accuracies
from serving.review.judgments import judge_by_gold
from serving.review.sampling import draw
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World, drawn
from tests.serving import event_loop
from tests.serving.gateway import rig as gateway_rig
from tests.serving.gateway.rig import backend, reply, rig
from tests.serving.gateway.test_feedback import send
from tests.serving.review.rows import deployed, gold_of

TEXT = f"Copy. {drawn(40)[39].text}"


@pytest.mark.django_db(transaction=True)
def test_from_an_answer_to_a_judgment_by_its_label(world: World, tmp_path: Path) -> None:
    deployment = deployed(world)
    stable = deployment.stable
    assert stable is not None
    wrong = gold_of(39) | {"vendor": "Acme Ltd"}
    schema = world.project.schema_version.compiled

    async def ask() -> None:
        async with backend(tmp_path / "a", reply(raw=dumps(wrong), confidence={"vendor": [0.4, 0.5]})) as replica:
            answering = gateway_rig.ReleaseRoute(stable.pk, stable.number, schema, (replica.address,))
            route = gateway_rig.Route(world.project.pk, "invoices", answering, None, "", 0.0, 8, 30)
            async with rig(tmp_path, route) as gateway:
                response = await gateway.extract(TEXT)
                assert response.status_code == 200, response.text
                await gateway.log.store()
                feedback = await send(gateway, {"request_id": response.json()["request_id"], "right": False})
                assert (feedback.status_code, feedback.json()["right"]) == (200, False)

    event_loop.run(ask())
    row = RequestLog.objects.get()
    SamplePlan.objects.create(deployment=deployment, share=1.0)
    later = timezone.now() + timedelta(minutes=5)
    assert draw(deployment.pk, later) == 1
    item = ReviewItem.objects.get()
    assert item.reasons == ["feedback", "confidence", "uniform"]
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    document = Document.objects.get(source="requests")
    assert document.text == TEXT
    annotation.submit(document=document, user=world.annotator, value=gold_of(39), evidence={}, base_version=0)
    assert judge_by_gold(world.project) == 1
    judged = {judgment.source: judgment for judgment in Judgment.objects.filter(request_id=row.id)}
    assert set(judged) == {"caller", "gold"}
    assert [path for path, right in judged["gold"].fields.items() if not right] == ["vendor"]
    live = live_accuracies(world.project)[stable.pk]
    assert (live.drawn, live.judged, live.pending) == (1, 1, 0)
    assert live.exact is not None
    assert live.exact.value == 0.0
