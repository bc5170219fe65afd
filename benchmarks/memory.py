"""What the detector takes: of memory, of the topic of snapshots, and of time to come back after a kill.

A worker over 300 assets; a day of 300 assets in simulated time through the fold; a worker that is killed with SIGKILL
in the middle of cascades and started again at once, as a supervisor does."""

import itertools
import json
import subprocess
import sys
import threading
import time
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from benchmarks._day import ASSETS
from benchmarks._workload import Broker, assets, broker, preload
from benchmarks.latency import cascade_event, reader_of
from benchmarks.worker import work
from runtime.kafka import producer_config
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import CascadeAlert
from schemas.topics import ALERTS, LIQUIDATIONS
from schemas.words import AlertKind
from stack.demo.stage import Stage

EVENTS: Final = 60_000  # a minute of the log, so that every window size of every asset is in use
DAY_S_MAX: Final = 1_800.0
FEED_S: Final = 0.1
FEED_EVENTS: Final = 30  # 300 a second, one asset a second: each climbs to EXTREME
ALERT_S_MAX: Final = 60.0


def run() -> dict[str, object]:
    """{"worker_memory_mb", "day_memory_mb_12h", "day_memory_mb_24h", "growth_pct", "state_bytes_per_asset",
    "snapshot_mb", "kill_to_alert_s"}."""
    day = _day()
    with broker() as own:
        preload(own.kafka, EVENTS, assets(ASSETS), end_ms=time.time_ns() // 1_000_000)
        worker = work(own, EVENTS)
        kill_to_alert_s = _kill(own)
    half, whole = day["memory_mb"][len(day["memory_mb"]) // 2 - 1], day["memory_mb"][-1]
    return {
        "worker_memory_mb": worker["memory_mb"],
        "day_memory_mb_12h": half,
        "day_memory_mb_24h": whole,
        "growth_pct": round(100 * (whole - half) / half, 2),
        "state_bytes_per_asset": round(day["state_bytes"] / ASSETS),
        "snapshot_mb": round(day["snapshot_bytes"] / 1e6, 2),
        "kill_to_alert_s": round(kill_to_alert_s, 2),
    }


def _day() -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks._day"], stdout=subprocess.PIPE, timeout=DAY_S_MAX, check=True
        )
    except subprocess.SubprocessError as exc:
        raise StackError(f"folding a day: {exc}") from exc
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _kill(own: Broker) -> float:
    """Seconds from SIGKILL to an alert that an event after it raised. Raises StackError."""
    stop, alerts = threading.Event(), reader_of(own.kafka, ALERTS.name)
    feed = threading.Thread(target=_feed, args=(own, stop), daemon=True)
    stage = Stage("process", ["stack.cli", "process"], own.environment | {"LIQCASCADE_LOG__FORMAT": "json"}, own.folder)
    stage.start()
    try:
        stage.await_ready()
        feed.start()
        _await_alert(alerts, since_ms=0)
        killed_s, killed_ms = time.perf_counter(), time.time_ns() // 1_000_000
        stage.kill()
        stage.start()
        _await_alert(alerts, since_ms=killed_ms)
        return time.perf_counter() - killed_s
    finally:
        stop.set()
        stage.ask_to_stop()
        stage.await_end()
        alerts.close()


def _await_alert(alerts: Consumer, *, since_ms: int) -> None:
    deadline_s = time.perf_counter() + ALERT_S_MAX
    while time.perf_counter() < deadline_s:
        message = alerts.poll(0.1)
        if message is not None and message.error() is None:
            alert = Codec().decode(CascadeAlert, message.value() or b"")
            if alert.kind is AlertKind.RAISED and alert.event_time_ms > since_ms:
                return
    raise StackError(f"waiting for an alert: none within {ALERT_S_MAX:.0f} s")


def _feed(own: Broker, stop: threading.Event) -> None:
    producer, codec, numbers = Producer(producer_config(own.kafka, linger_ms=0)), Codec(), itertools.count()
    while not stop.wait(FEED_S):
        for number in itertools.islice(numbers, FEED_EVENTS):
            event = cascade_event(number)
            producer.produce(LIQUIDATIONS.name, codec.encode(LIQUIDATIONS, event), event.asset.encode())
        producer.poll(0)
    producer.flush()
