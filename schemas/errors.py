"""The one tree of errors. `retriable` stands on the class; foreign errors are mapped at one border with `from`.

A message is one sentence that says what was being done, where, and what to do about it, with numbers:
"writing 500 liquidations to 127.0.0.1:5432: connection refused; start the database or set database.url".
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from schemas.records import Funding, Liquidation, OpenInterest


class LiqcascadeError(Exception):
    """Root of every error that this project raises on purpose.

    `retriable`: the same call may succeed later, unchanged. `exit_code`: what the command ends with."""

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class SettingsError(LiqcascadeError):
    """A setting, an option or a file that the user gave does not fit; the message names the key."""

    exit_code = 2


class SchemaError(LiqcascadeError):
    """Bytes or a record do not fit the schema that they name, or a schema would break its readers."""


class FrameRefused(LiqcascadeError):
    """An exchange's frame cannot be understood: it goes to the dead letters with its bytes and this reason.

    `events`: those of the same frame's rows that were understood."""

    events: "tuple[Liquidation | OpenInterest | Funding, ...]" = ()


class UnknownInstrument(FrameRefused):
    """A frame names an instrument whose contract size is not known, so no size can be given for it."""


class RecordRefused(LiqcascadeError):
    """A store refused a value of this record. The connection is fine: dead-letter the record, go on."""


class Unavailable(LiqcascadeError):
    """A server cannot be reached or cannot work now: nothing was written, keep the work and try again."""

    retriable = True
    exit_code = 3


class BrokerUnavailable(Unavailable):
    """Kafka or the schema registry."""


class FeedUnavailable(Unavailable):
    """An exchange's websocket or REST address."""


class StoreUnavailable(Unavailable):
    """PostgreSQL or Redis: down, full, read-only or locked. Never a reason to dead-letter a record."""


class RequestRefused(LiqcascadeError):
    """A call of a REST interface asks for what is not there, not possible now, or not sensible.

    `status`: of HTTP, 4xx."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StackError(LiqcascadeError):
    """The embedded stack cannot start: a port is taken, a download is missing, the disk is full."""

    exit_code = 4
