"""Passwords that are easy to guess because they consist of names of the studio, of the organization, or of the user."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

#: letters of a word that counts, and of what has to be left without these words
_MIN_LETTERS = 4
_STUDIO = ("slmstudio", "studio", "slm", "password", "admin")
_LETTERS = re.compile(r"[^\W\d_]+")


class ContextWords:
    """A validator of passwords: without these words, digits and punctuation, some letters must be left."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raises ValidationError for a password of these words."""
        left = rest = password.casefold()
        for word in sorted(context_words(user), key=len, reverse=True):
            left = left.replace(word, " ")
        if left != rest and sum(map(len, _LETTERS.findall(left))) < _MIN_LETTERS:
            raise ValidationError(self.get_help_text(), code="context_words")

    def get_help_text(self) -> str:
        """What a password has to be."""
        return "Your password can’t consist of names of you, your organization or this application."


def context_words(user: User | None) -> set[str]:
    """The words, in lower case: of the application, the setting PASSWORD_WORDS, the studio's address, and the user."""
    texts = [*settings.PASSWORD_WORDS, urlsplit(settings.STUDIO_URL).hostname or ""]
    if user is not None:
        texts += [user.username, user.first_name, user.last_name, user.email]
    return {*_STUDIO, *_long_words(texts)}


def _long_words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _LETTERS.findall(text.casefold()) if len(word) >= _MIN_LETTERS}
