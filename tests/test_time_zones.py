"""Times are shown in the user's time zone; an unknown zone in the cookie changes nothing."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from labeling.models import Project
from tests.labeling.desk import make_desk

pytestmark = pytest.mark.django_db


def shown(zone: str, cookie: str = "zone") -> str:
    desk = make_desk()
    Project.objects.update(created_at=datetime(2026, 3, 1, 22, 30, tzinfo=UTC))
    client = desk.as_("annotator")
    client.cookies[cookie] = zone
    page = client.get("/")
    assert page.status_code == 200
    assert timezone.get_current_timezone_name() == "UTC", "the next request starts from the site's zone"
    return page.content.decode()


@pytest.mark.parametrize("cookie", ["zone", "__Host-zone"])
def test_times_use_the_users_zone(cookie: str) -> None:
    assert 'datetime="2026-03-02T07:30:00+09:00"' in shown("Asia/Tokyo", cookie)


@pytest.mark.parametrize("zone", ["", "../../etc/passwd", "No/Where", "é%00"])
def test_unknown_zones_are_ignored(zone: str) -> None:
    assert 'datetime="2026-03-01T22:30:00+00:00"' in shown(zone)
