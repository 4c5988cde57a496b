"""The exception of all rejected requests. Pure."""

from collections.abc import Mapping


class Refused(Exception):
    """A request that is rejected, for a reason that the user can act on.

    ``message`` is a sentence. ``field`` names the value to change ("": the request as a whole). ``code`` is a short,
    stable word for programs and tests. ``errors`` has the message of every invalid field.
    """

    def __init__(
        self, message: str, *, field: str = "", code: str = "", errors: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.code = message, field, code
        self.errors = {field: message, **(errors or {})}
