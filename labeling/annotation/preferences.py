"""A user's preferences for the labeling screen."""

from django.contrib.auth.models import User
from django.db import transaction

from labeling.annotation.shortcuts import with_shortcut, without_shortcut
from labeling.models import Preferences


def of(user: User) -> Preferences:
    """A user's preferences; unsaved defaults if they have none."""
    return Preferences.objects.filter(user=user).first() or Preferences(user=user)


def set_key(*, user: User, action: str, chord: str) -> Preferences:
    """Sets the chord of an action. Raises labeling.annotation.shortcuts.InvalidShortcut."""
    with transaction.atomic():
        mine = _locked_row(user)
        mine.keys = with_shortcut(mine.keys, action, chord)
        mine.save(update_fields=["keys"])
    return mine


def reset_keys(*, user: User, action: str = "") -> Preferences:
    """Resets one action, or all, to the default chords. Raises labeling.annotation.shortcuts.InvalidShortcut."""
    with transaction.atomic():
        mine = _locked_row(user)
        mine.keys = without_shortcut(mine.keys, action) if action else {}
        mine.save(update_fields=["keys"])
    return mine


def set_exceptions_only(*, user: User, on: bool) -> None:
    """Sets whether Tab visits only fields that need attention in a pre-filled form."""
    Preferences.objects.update_or_create(user=user, defaults={"exceptions_only": on})


def _locked_row(user: User) -> Preferences:
    """The row, created if missing, and locked until the transaction ends."""
    Preferences.objects.get_or_create(user=user)
    return Preferences.objects.select_for_update().get(user=user)
