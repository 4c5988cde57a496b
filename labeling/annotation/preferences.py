"""What a person has set for themselves on the labeling screen."""

from django.contrib.auth.models import User
from django.db import transaction

from labeling.annotation.keyboard import back_to_default, rebound
from labeling.models import Preferences


def of(user: User) -> Preferences:
    """A person's preferences; the defaults, unsaved, where they never set any."""
    return Preferences.objects.filter(user=user).first() or Preferences(user=user)


def set_key(*, user: User, action: str, chord: str) -> Preferences:
    """Gives an action another chord. Raises labeling.annotation.keyboard.KeyRefused."""
    with transaction.atomic():
        mine = _held(user)
        mine.keys = rebound(mine.keys, action, chord)
        mine.save(update_fields=["keys"])
    return mine


def reset_keys(*, user: User, action: str = "") -> Preferences:
    """Gives one action, or all of them, its own chords back. Raises labeling.annotation.keyboard.KeyRefused."""
    with transaction.atomic():
        mine = _held(user)
        mine.keys = back_to_default(mine.keys, action) if action else {}
        mine.save(update_fields=["keys"])
    return mine


def set_exceptions_only(*, user: User, on: bool) -> None:
    """Whether Tab visits only the fields that failed a check, where a model filled the form."""
    Preferences.objects.update_or_create(user=user, defaults={"exceptions_only": on})


def _held(user: User) -> Preferences:
    """The row, made where it is missing, and held until the transaction ends."""
    Preferences.objects.get_or_create(user=user)
    return Preferences.objects.select_for_update().get(user=user)
