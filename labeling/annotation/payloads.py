"""What the labeling screen posts, as models."""

from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from labeling.form.codec import ABSENT, FormEntry, JsonEntry
from slmstudio.contract.json_text import JsonError, loads, text_fits
from slmstudio.contract.schema.dialect import is_number

#: maximum seconds of a save: a suspended tab must not report hours
MAX_SECONDS = 600
#: maximum number of fields that a save can report time for
MAX_FIELDS = 1000

Number = Annotated[StrictInt, Field(ge=0, lt=2**31)]


class PayloadError(ValueError):
    """The request body is invalid."""


class ValueSyntaxError(ValueError):
    """The text of the JSON view is not JSON; the message has line and column."""


class Payload(BaseModel):
    """A body."""

    model_config = ConfigDict(frozen=True)


class Position(Payload):
    """A document in the queue: the one ``after`` which, or ``before`` which, the next is asked for."""

    after: Number = 0
    before: Number | None = None


class Skip(Payload):
    """Why a document is skipped."""

    reason: StrictStr = ""


class Tags(Payload):
    """The failure tags of a document."""

    tags: list[StrictStr]


class Tab(Payload):
    """An open tab of the screen, or one that is ``leaving``."""

    tab: str = ""
    leaving: bool = False


class Restore(Payload):
    """A revision to restore. ``prediction``: what filled the form."""

    revision: Number
    base_version: Number
    prediction: Number | None = None


class NewComment(Payload):
    """A comment on a document, or on the field at ``path``."""

    text: StrictStr = ""
    path: StrictStr = ""


class ResolvedComment(Payload):
    """A comment to resolve."""

    comment: Number


def _time(seconds: Any) -> float:
    if not is_number(seconds) or not 0 <= seconds < 2**31:
        raise ValueError("must be a number of seconds")
    return float(min(MAX_SECONDS, seconds))


def _storable(times: dict[str, float]) -> dict[str, float]:
    return {pattern[:300]: seconds for pattern, seconds in times.items() if text_fits(pattern)}


class Save(Payload):
    """A save: the state of the form (``entry``), or the text of the JSON view (``json_text``) with the texts in it that
    were ``typed`` into the form before, by path.

    ``asked``: the empty optional fields that the user was already asked about; None: do not ask. ``field_seconds``: by
    field pattern.
    """

    entry: Any = ABSENT
    json_text: StrictStr | None = Field(None, alias="json")
    typed: dict[str, StrictStr] = {}
    evidence: dict[str, Any]
    base_version: Number
    schema_number: Number = Field(alias="schema")
    seconds: Annotated[Number, AfterValidator(_time)]
    submit: StrictBool
    prediction: Number | None = None
    field_seconds: Annotated[
        dict[str, Annotated[float, BeforeValidator(_time)]], Field(max_length=MAX_FIELDS), AfterValidator(_storable)
    ] = {}
    asked: frozenset[str] | None = None

    def value(self) -> FormEntry | JsonEntry:
        """The value to save. Raises ValueSyntaxError."""
        if self.json_text is None:
            return FormEntry(self.entry)
        try:
            return JsonEntry(loads(self.json_text), self.typed)
        except JsonError as error:
            raise ValueSyntaxError(str(error)) from error


Body = TypeVar("Body", bound=Payload)


def parse(model: type[Body], body: bytes) -> Body:
    """The body of a request. Raises PayloadError."""
    try:
        return model.model_validate(loads(body))
    except JsonError as error:
        raise PayloadError(f"The request is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PayloadError(f"{'.'.join(map(str, first['loc'])) or 'The request'}: {first['msg']}."[:300]) from error
