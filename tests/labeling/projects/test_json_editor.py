"""The frame of the JSON editor: a policy of its own, for people who are logged in."""

from django.test import Client

from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def test_frame_policy_only_adds_styles(desk: Desk) -> None:
    client = Client()
    client.force_login(desk.ana)
    answer = client.get("/editor/")
    assert answer.status_code == 200
    policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert policy["connect-src"] == policy["form-action"] == policy["default-src"] == "'none'"
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    other = client.get("/p/desk/contract/")
    assert "unsafe-inline" not in other["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in other["Content-Security-Policy"]
    assert other["X-Frame-Options"] == "DENY"
