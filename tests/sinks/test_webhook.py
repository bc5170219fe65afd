"""The webhook: what the receiver is told, signed how, and what its answers lead to."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
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
from sinks.offsets import IDS_MAX, PASSED_OVER_MAX, Offsets, Told
from sinks.sentence import sentence_of
from sinks.settings import SinkSettings, WebhookSettings
from sinks.webhook import WebhookSink
from stack.embedded.ports import free_port
from tests.sinks.endpoint import Endpoint
from tests.sinks.records import alert, landing
from tests.sinks.topics import wait_for

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
    tell(sink, raised(1), alert(2), raised(3))
    assert ids(endpoint) == []
    assert sink.flush() == {HERE: 3}
    told = told_of(tmp_path)
    assert told.passed_over == {f"{HERE[0]}/0": [(0, 3)]}
    assert told.is_passed_over(HERE, 2)
    assert not told.is_passed_over(HERE, 3)


def told_of(folder: Path) -> Told:
    return msgspec.json.decode((folder / "webhook.json").read_bytes(), type=Offsets).told


def test_of_what_was_told_so_much_is_remembered() -> None:
    told = Told()
    for number in range(IDS_MAX + 2):
        told = told.sent(f"alert {number}", 1_000 + number)
    assert list(told.ids) == [f"alert {number}" for number in range(2, IDS_MAX + 2)]
    assert told.forgotten_ms == 1_001
    for number in range(PASSED_OVER_MAX + 2):
        told = told.passed(HERE, number * 3, too_old=True).passed(HERE, number * 3 + 2, too_old=False)
    assert len(told.passed_over[f"{HERE[0]}/0"]) == PASSED_OVER_MAX
    assert not told.is_passed_over(HERE, 0)
    assert told.is_passed_over(HERE, 6)


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


def test_what_falls_says_from_where_and_what_ends_how_high_it_was() -> None:
    fallen = msgspec.structs.replace(alert(1), kind=AlertKind.LOWERED, level=Level.WATCH, previous_level=Level.EXTREME)
    assert sentence_of(fallen).startswith("BTC fell from EXTREME to WATCH; longs liquidated; 40/s")
    ended = msgspec.structs.replace(fallen, kind=AlertKind.ENDED, level=Level.NONE, peak_level=Level.EXTREME, asset="*")
    assert sentence_of(ended) == "Market cascade is over; it was EXTREME; 08:53:20 UTC"


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


def test_the_receiver_of_the_documentation_takes_what_is_signed_and_tells_it_once(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text()
    program = tmp_path / "receiver.py"
    program.write_text(page.partition("```python\n")[2].partition("```")[0])
    secret, port = "whsec_" + base64.b64encode(KEY).decode(), free_port()
    with subprocess.Popen([sys.executable, str(program), secret, str(port)], stdout=subprocess.PIPE, text=True) as run:
        settings = WebhookSettings(
            url=SecretStr(f"http://127.0.0.1:{port}"), secret=SecretStr(secret), folder=tmp_path / "sent"
        )
        try:
            sink = WebhookSink(SinkSettings(webhook=settings))
            wait_for(lambda: reaches(sink), "the receiver")
            tell(sink, raised(1), raised(2))
            (tmp_path / "sent" / "webhook.json").unlink()
            sink.open([HERE])
            tell(sink, raised(1), raised(3))
            stranger = settings.model_copy(update={"secret": SecretStr("whsec_AAAA"), "folder": tmp_path / "other"})
            other = WebhookSink(SinkSettings(webhook=stranger))
            other.open([HERE])
            with pytest.raises(StoreUnavailable, match="it answered 401; see what it wants"):
                tell(other, raised(4))
        finally:
            run.terminate()
        assert run.stdout is not None
        assert run.stdout.read().splitlines() == ["BTC RAISED CRITICAL LONG"] * 3


def reaches(sink: WebhookSink) -> bool:
    try:
        sink.open([HERE])
    except StoreUnavailable:
        return False
    return True
