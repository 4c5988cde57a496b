"""Passwords of names, and accounts that must have a second factor."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client

from slmstudio.access import Role
from slmstudio.accounts.second_factor import ADMINISTRATORS
from slmstudio.settings import _ROLES


@pytest.fixture(autouse=True)
def words(settings: Any) -> None:
    settings.PASSWORD_WORDS, settings.STUDIO_URL = ["Initech", "Blue Stapler"], "https://slm.example.org:8443/x"


@pytest.mark.parametrize(
    "password",
    [
        "Studio-2026!!",
        "slmSTUDIOslm",
        "initech2026",
        "12Stapler34Blue",
        "example!example",
        "Okonkwo_1987",
        "Ngozi.Initech",
    ],
)
def test_a_password_of_names_is_refused(password: str) -> None:
    user = User(username="no", first_name="Ngozi", last_name="Okonkwo", email="n@b.example")
    with pytest.raises(ValidationError) as refused:
        validate_password(password, user)
    assert "context_words" in {error.code for error in refused.value.error_list}


@pytest.mark.parametrize(
    "password", ["correct horse battery", "48213907551", "my studio has a red door", "initech lamp 7"]
)
def test_a_password_with_more_than_names_is_accepted(password: str) -> None:
    validate_password(password, User(username="no"))


def test_roles_of_the_setting_exist() -> None:
    assert {*_ROLES} == {*Role, ADMINISTRATORS}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["is_staff", "is_superuser"])
def test_administrators_must_have_a_second_factor(settings: Any, kind: str) -> None:
    settings.MFA_REQUIRED_ROLES = [ADMINISTRATORS]
    ana, client = User.objects.create_user("ana"), Client()
    User.objects.update(**{kind: True})
    client.force_login(ana)
    assert client.get("/")["Location"] == "/2fa/"
    assert client.get("/admin/").status_code == 302
    assert client.get("/api/v1/projects").status_code == 403
    Authenticator.objects.create(user=ana, type=Authenticator.Type.TOTP, data={})
    assert client.get("/").status_code == 200
    other = Client()
    other.force_login(User.objects.create_user("ben"))
    assert other.get("/").status_code == 200
