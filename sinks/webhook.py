"""Alerts to any URL: signed, in order, retried until they are taken, and each once.

Signature and headers: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. What was sent stands
in a file (`sinks.offsets`), written after every answer. A process that dies between an answer and that write sends this
one alert again; its `webhook-id` is the same, so the receiver can tell."""

import base64
import binascii
import hashlib
import hmac
import socket
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar, Final, NamedTuple

import httpx
import msgspec
import structlog

from runtime.clock import wall_clock_ms
from schemas.codec import to_json
from schemas.errors import RecordRefused, StoreUnavailable
from schemas.records import CascadeAlert, Record
from schemas.topics import ALERTS, Topic
from schemas.words import LEVEL_RANKS
from sinks.connector import Batch, Connector, Position, SinkRecord
from sinks.keys import key_of, refuse_what_cannot_be
from sinks.offsets import Offsets, OffsetsFile
from sinks.sentence import sentence_of
from sinks.settings import SinkSettings, WebhookSettings

ANSWER_S_MAX: Final = 10.0
CONNECT_S_MAX: Final = 5.0
REFUSED: Final = (400, 413, 422)  # what the receiver says of this one body; every other refusal is of all
SECRET_PREFIX: Final = "whsec_"

log = structlog.get_logger()


class Letter(NamedTuple):
    """One alert. Without a body nobody wants to be told of it, or it is too old."""

    identity: str
    body: bytes | None
    too_old: bool
    position: Position
    offset: int
    append_time_ms: int


class WebhookSink(Connector):
    """Offsets move alert by alert. An endpoint that is down or says 5xx, 429, 401 … is an outage: it is waited for."""

    kind: ClassVar[str] = "webhook"
    topics: ClassVar[tuple[Topic, ...]] = (ALERTS,)
    sections: ClassVar[tuple[str, ...]] = ("webhook",)
    flush_ms: ClassVar[int] = 200

    def __init__(self, settings: SinkSettings, *, name: str = "", now_ms: Callable[[], int] = wall_clock_ms) -> None:
        """`now_ms`: what is too old to be told is a matter of the clock."""
        super().__init__(settings, name=name)
        self._settings, self._now_ms = settings.webhook, now_ms
        self._file = OffsetsFile(settings.webhook.folder.absolute(), self.name)
        self._client: httpx.Client | None = None
        self._stored: dict[Position, int | None] = {}
        self._next: dict[Position, int] = {}
        self._letters: list[Letter] = []

    @classmethod
    def validate(cls, settings: SinkSettings) -> dict[str, str]:
        """See the contract."""
        problems = {}
        if _url(settings.webhook) is None:
            problems["webhook.url"] = "webhook.url must be an http:// or https:// address with a host"
        try:
            _key(settings.webhook)
        except (ValueError, binascii.Error):
            problems["webhook.secret"] = "webhook.secret must be whsec_ and the key in base64"
        return problems

    def open(self, partitions: Collection[Position]) -> Mapping[Position, int]:
        """Read the offsets, and see whether the endpoint's host answers. See the contract."""
        self.close()
        with self._file.locked("opening the webhook's folder", make=True):
            self._stored = self._file.read().of(partitions)
        self._client = httpx.Client(timeout=httpx.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX))
        self.check()
        return self.flush()

    def put(self, batch: Batch) -> None:
        """Make the bodies; they are sent by `flush`. See the contract."""
        assert batch.next_offsets, "a put moves offsets"
        assert self._stored.keys() >= batch.next_offsets.keys(), "open() with these positions first"
        self._letters += [self._letter(record) for record in batch.records]
        self._next |= batch.next_offsets

    def flush(self) -> Mapping[Position, int]:
        """Send what is held, one by one. See the contract."""
        if self._next:
            letters, next_offsets = self._letters, self._next
            self._letters, self._next = [], {}
            with self._file.locked("keeping what was sent in"):
                offsets = self._file.read()
                self._file.refuse_moved(offsets, {position: self._stored[position] for position in next_offsets})
                for letter in letters:
                    offsets = self._deliver(letter, offsets)
                self._file.write(offsets.moved(next_offsets))
            self._stored |= next_offsets
        return {position: offset for position, offset in self._stored.items() if offset is not None}

    def check(self) -> None:
        """Open a connection to the endpoint's host. See the contract."""
        url = _url(self._settings)
        assert url is not None, "settings were validated"
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            socket.create_connection((url.host, port), CONNECT_S_MAX).close()
        except OSError as exc:
            raise StoreUnavailable(f"reaching {url.host}:{port}: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """See the contract."""
        client, self._client = self._client, None
        self._letters, self._next = [], {}
        if client is not None:
            client.close()

    def _letter(self, record: SinkRecord) -> Letter:
        refuse_what_cannot_be(record.record)
        identity = ":".join(map(str, key_of(record.record)))
        wanted = is_wanted(record.record, self._settings)
        too_old = wanted and self._now_ms() - record.append_time_ms > self._settings.age_s_max * 1_000
        body = _body(record, self._settings) if wanted and not too_old else None
        return Letter(identity, body, too_old, record.position, record.offset, record.append_time_ms)

    def _deliver(self, letter: Letter, offsets: Offsets) -> Offsets:
        after = offsets.moved({letter.position: letter.offset + 1})
        if letter.identity in offsets.told.ids:
            return after
        if letter.body is None:
            told = offsets.told.passed(letter.position, letter.offset, too_old=letter.too_old)
            return msgspec.structs.replace(after, told=told)
        self._send(letter.identity, letter.body)
        after = msgspec.structs.replace(after, told=offsets.told.sent(letter.identity, letter.append_time_ms))
        self._file.write(after)
        self._stored[letter.position] = letter.offset + 1
        return after

    def _send(self, identity: str, body: bytes) -> None:
        assert self._client is not None, "open() first"
        url = _url(self._settings)
        assert url is not None, "settings were validated"
        where, sent_s = f"{url.host}:{url.port or url.scheme}", self._now_ms() // 1_000
        headers = {"content-type": "application/json", "webhook-id": identity, "webhook-timestamp": str(sent_s)}
        key = _key(self._settings)
        if key:
            headers["webhook-signature"] = signature(key, identity, sent_s, body)
        try:
            answer = self._client.post(url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise StoreUnavailable(f"telling {where}: {type(exc).__name__}") from exc
        if answer.status_code in REFUSED:
            raise RecordRefused(f"telling {where} of {identity}: it answered {answer.status_code}")
        if not answer.is_success:
            raise StoreUnavailable(f"telling {where}: it answered {answer.status_code}; see what it wants")


def is_wanted(record: Record, settings: WebhookSettings) -> bool:
    """Whether an alert is of a kind and a level that were asked for."""
    if not isinstance(record, CascadeAlert):
        return True
    highest = max(LEVEL_RANKS[record.level], LEVEL_RANKS[record.previous_level])
    return record.kind in settings.kinds and highest >= LEVEL_RANKS[settings.level_min]


def signature(key: bytes, identity: str, sent_s: int, body: bytes) -> str:
    """HMAC-SHA256 over id, time and body, as Standard Webhooks defines it."""
    signed = b".".join((identity.encode(), str(sent_s).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _body(record: SinkRecord, settings: WebhookSettings) -> bytes:
    alert = record.record
    if settings.format == "text" and isinstance(alert, CascadeAlert):
        return msgspec.json.encode({"text": sentence_of(alert)})
    try:
        return to_json(alert)
    except (ValueError, UnicodeEncodeError, msgspec.EncodeError) as exc:
        raise RecordRefused(f"writing {record.position[0]} at {record.offset} as JSON: {exc}") from exc


def _key(settings: WebhookSettings) -> bytes:
    secret = settings.secret.get_secret_value()
    if secret and not secret.startswith(SECRET_PREFIX):
        raise ValueError(secret)
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def _url(settings: WebhookSettings) -> httpx.URL | None:
    try:
        url = httpx.URL(settings.url.get_secret_value())
    except httpx.InvalidURL:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
