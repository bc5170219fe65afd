"""The webhook: what the receiver is told, signed how, and what its answers lead to."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from runtime.clock import wall_clock_ms
from schemas.errors import RecordRefused, StoreUnavailable
from schemas.records import CascadeAlert
from schemas.topics import ALERTS
from schemas.words import AlertKind, Level
from sinks.connector import batch_of
from sinks.sentence import sentence_of
from sinks.settings import SinkSettings, WebhookSettings
from sinks.webhook import WebhookSink
from tests.sinks.endpoint import Endpoint
from tests.sinks.records import alert, landing

HERE = (ALERTS.name, 0)
KEY = b"sixteen bytes of key"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    endpoint.up()
    yield endpoint
    endpoint.down()


def raised(number: int, **changes: Any) -> CascadeAlert:
    return msgspec.structs.replace(alert(number), kind=AlertKind.RAISED, **changes)


def opened(endpoint: Endpoint, folder: Path, *, later_ms: int = 0, **changes: Any) -> WebhookSink:
    webhook = WebhookSettings(url=SecretStr(endpoint.url), folder=folder, **changes)
    sink = WebhookSink(SinkSettings(webhook=webhook), now_ms=lambda: wall_clock_ms() + later_ms)
    sink.open([HERE])
    return sink


def tell(sink: WebhookSink, *alerts: CascadeAlert, first_offset: int = 0) -> None:
    sink.put(batch_of(landing(alerts, first_offset=first_offset)))
    sink.flush()


def ids(endpoint: Endpoint) -> list[str]:
    return [one.headers["webhook-id"].rpartition(":")[2] for one in endpoint.heard]


def test_the_whole_alert_is_told_in_order(endpoint: Endpoint, tmp_path: Path) -> None:
    tell(opened(endpoint, tmp_path), raised(1), raised(2))
    assert ids(endpoint) == ["1", "2"]
    body = json.loads(endpoint.heard[0].body)
    assert (body["asset"], body["level"], body["probability"]) == ("BTC", "CRITICAL", 0.75)


def test_a_signature_is_of_id_time_and_body(endpoint: Endpoint, tmp_path: Path) -> None:
    secret = SecretStr("whsec_" + base64.b64encode(KEY).decode())
    tell(opened(endpoint, tmp_path, secret=secret), raised(1))
    (heard,) = endpoint.heard
    signed = f"{heard.headers['webhook-id']}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert heard.headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_nothing_is_signed(endpoint: Endpoint, tmp_path: Path) -> None:
    tell(opened(endpoint, tmp_path), raised(1))
    assert "webhook-signature" not in endpoint.heard[0].headers


def test_only_levels_and_kinds_that_were_asked_for(endpoint: Endpoint, tmp_path: Path) -> None:
    low = raised(1, level=Level.WATCH)
    ended = msgspec.structs.replace(alert(3), kind=AlertKind.ENDED, level=Level.NONE, previous_level=Level.CRITICAL)
    sink = opened(endpoint, tmp_path)
    tell(sink, low, alert(2), ended)
    assert ids(endpoint) == ["3"]
    assert sink.flush() == {HERE: 3}


def test_history_is_passed_over(endpoint: Endpoint, tmp_path: Path) -> None:
    sink = opened(endpoint, tmp_path, later_ms=700_000)
    tell(sink, raised(1))
    assert ids(endpoint) == []
    assert sink.flush() == {HERE: 1}


@pytest.mark.parametrize("status", [301, 401, 404, 429, 500, 503])
def test_what_is_not_taken_is_sent_again_and_what_was_taken_is_not(
    endpoint: Endpoint, tmp_path: Path, status: int
) -> None:
    sink = opened(endpoint, tmp_path)
    tell(sink, raised(1))
    endpoint.status = status
    with pytest.raises(StoreUnavailable, match=str(status)):
        tell(sink, raised(2), raised(3), first_offset=1)
    endpoint.status = 200
    assert sink.open([HERE]) == {HERE: 1}
    tell(sink, raised(2), raised(3), first_offset=1)
    assert ids(endpoint) == ["1", "2", "3"]


def test_a_body_that_is_refused_is_a_bad_record(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.status = 422
    with pytest.raises(RecordRefused, match="422"):
        tell(opened(endpoint, tmp_path), raised(1))


def test_an_endpoint_that_is_gone_names_its_host_and_no_token(endpoint: Endpoint, tmp_path: Path) -> None:
    sink = opened(endpoint, tmp_path)
    endpoint.down()
    with pytest.raises(StoreUnavailable, match=str(endpoint.port)) as caught:
        tell(sink, raised(1))
    assert "never-logged" not in str(caught.value)


def test_text_is_a_sentence_for_a_chat(endpoint: Endpoint, tmp_path: Path) -> None:
    tell(opened(endpoint, tmp_path, format="text"), raised(1))
    assert json.loads(endpoint.heard[0].body)["text"] == (
        "BTC rose to CRITICAL; longs liquidated; 40/s, $1.0M/s in 2 s; on binance; probability 0.75, confidence 0.50; "
        "08:53:20 UTC"
    )


def test_a_sentence_never_holds_what_a_terminal_would_obey() -> None:
    assert sentence_of(raised(1, asset="\x1b[31m龙虾")).startswith("?[31m龙虾 rose to CRITICAL")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("webhook.url", {"url": SecretStr("ftp://host/")}),
        ("webhook.url", {"url": SecretStr("")}),
        ("webhook.secret", {"url": SecretStr("http://host/"), "secret": SecretStr("plain")}),
        ("webhook.secret", {"url": SecretStr("http://host/"), "secret": SecretStr("whsec_no base64")}),
    ],
)
def test_settings_that_cannot_serve_name_their_key(key: str, changes: dict[str, Any]) -> None:
    assert list(WebhookSink.validate(SinkSettings(webhook=WebhookSettings(**changes)))) == [key]
