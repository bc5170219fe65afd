"""The detector's stage: a Faust app that hands runs of liquidations to the host of the detector.

`liqcascade process` runs it in this process; `faust -A processors.app worker` runs it under Faust's own command."""

import asyncio
import gc
import os
import signal
import sys
import threading
from typing import Any, Final

import faust
import structlog
from faust.types import TP

from processors.detector import Detector
from processors.host.consumer import Consumer, Transport
from processors.host.host import Host
from processors.host.instance import InstanceName
from processors.host.settings_topic import publish_own
from processors.market.fold import MarketFold
from processors.market.stage import MarketStage
from processors.settings import ProcessorSettings
from processors.warm_up import warm_up
from runtime import logs
from runtime.kafka import create_topics, ssl_context, topic_names
from runtime.operations import OperationsServer
from runtime.settings import KafkaSettings, load
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, LiqcascadeError
from schemas.topics import LIQUIDATIONS

SESSION_S: Final = 6.0  # a dead worker's partitions move after this; Faust's 60 s cost 61
GC_THRESHOLDS: Final = (20_000, 20, 100)  # 20,000 new objects are searched in under 1 ms; Python begins at 700
SWITCH_S: Final = 0.0001  # Python: 0.005
STOP_S_MAX: Final = 4.5  # of the 5 s in which a stage ends
log = structlog.get_logger(__name__)


class _Unchanged(faust.Codec):  # type: ignore[misc]  # no types there
    """What the agent is told is no bytes: nothing to decode."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


class DetectorApp(faust.App):  # type: ignore[misc]  # no types there
    """The app, with the host of the detector and the operations server as parts of its life."""

    consumer: Consumer
    host: Host

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        names = topic_names(settings.kafka)
        group = settings.kafka.topic_prefix + settings.host.group
        self._instance = None if settings.host.instance else InstanceName(group)
        super().__init__(
            group,
            broker=[f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
            broker_credentials=_credentials(settings.kafka),
            store="memory://",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=self._instance.name if self._instance else settings.host.instance,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=SESSION_S / 4,
            broker_rebalance_timeout=2 * SESSION_S,
            broker_request_timeout=30.0,
            broker_commit_interval=1.0,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            autodiscover=False,
        )
        self.transport = Transport(self.conf.broker_consumer, self, kafka=settings.kafka)
        self._source = names.of(LIQUIDATIONS)
        self._joined = False
        topic = self.topic(self._source, value_serializer=_Unchanged(), key_serializer="raw", acks=False)
        self.agent(topic, name="detect")(self._detect)
        self.on_partitions_assigned.connect(self._assigned)
        self.on_partitions_revoked.connect(self._revoked)
        self.on_before_shutdown.connect(self._shut_down)
        self._market = MarketStage(settings.kafka, group=f"{group}-market", new_fold=self._new_market)
        self._operations = OperationsServer(settings.operations, alive=self._alive, ready=self._ready)

    async def on_start(self) -> None:
        """Compile, and start the host and the operations server, before the consumer joins its group."""
        await super().on_start()
        await asyncio.to_thread(warm_up, self._settings.detector)
        await asyncio.to_thread(publish_own, self._settings.kafka, self._settings.detector, ending=threading.Event())
        codec = Codec(self._settings.kafka.schema_registry_url)
        self.host = Host(
            self._settings.kafka,
            self._settings.host,
            detector=lambda partition: Detector(self._settings.detector, partition=partition, codec=codec),
            high_watermark=lambda partition: self.consumer.high_watermark(TP(self._source, partition)),
            on_covered=lambda partition, offset: self.consumer.cover(TP(self._source, partition), offset),
            on_behind=lambda partition: self.consumer.hold(TP(self._source, partition)),
            on_level=lambda partition, offset: self.consumer.go_on(TP(self._source, partition), offset),
        )
        self.host.start()
        self._market.start()
        address = await asyncio.to_thread(self._operations.start)
        log.info("detector starts", operations=address, group=self.conf.id)

    def on_init_dependencies(self) -> Any:
        """Without Faust's monitor: it times each run in four calls, and nobody asks it."""
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        return services

    def _create_directories(self) -> None:
        """None: nothing is kept on disk."""

    async def _detect(self, partitions: Any) -> None:
        async for tp in partitions:
            run = self.consumer.take(tp)
            if run:
                self.host.deliver(tp.partition, run)
            await self.host.room()

    async def _assigned(self, app: Any, assigned: set[TP], **_: Any) -> None:
        self.host.assign(tp.partition for tp in assigned)
        self._joined = True

    async def _revoked(self, app: Any, revoked: set[TP], **_: Any) -> None:
        await self.host.revoke([tp.partition for tp in revoked])
        await self.consumer.commit_covered()
        self.consumer.forget(revoked)

    async def _shut_down(self, app: Any, **_: Any) -> None:
        await asyncio.gather(self.host.stop(), asyncio.to_thread(self._market.stop))
        await self.consumer.commit_covered()
        await asyncio.to_thread(self._operations.stop)
        if self._instance is not None:
            self._instance.release()

    def _alive(self) -> dict[str, str]:
        return {"loop": "ok" if self.host.alive else "hangs"}

    def _ready(self) -> dict[str, str]:
        market = {"market": self._market.trouble or "ok"}
        return {"group": "ok" if self._joined else "not joined yet"} | self.host.troubles() | market

    def _new_market(self, codec: Codec) -> MarketFold:
        return MarketFold(
            self._settings.market,
            partitions=self._settings.kafka.partitions,
            judged_size_ms=self._settings.detector.judged_size_ms,
            codec=codec,
        )


def create_app(settings: ProcessorSettings) -> DetectorApp:
    """The app on a broker that answers and has the topics. Raises BrokerUnavailable, SettingsError."""
    create_topics(settings.kafka)
    return DetectorApp(settings)


def run(settings: ProcessorSettings) -> None:
    """Run the stage until SIGINT or SIGTERM. Raises LiqcascadeError when it cannot start.

    When it cannot go on, or not end in order, it logs why and ends the process: a worker that lingers would hold its
    partitions, and clients that wait for a broker in threads of their own end no other way."""
    logs.configure(settings.log, stage="process")
    _install_uvloop()
    asyncio.run(_run(settings))


async def _run(settings: ProcessorSettings) -> None:
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    ended, starting = asyncio.create_task(ending.wait()), asyncio.create_task(_start(settings))
    await asyncio.wait((ended, starting), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        log.info("ended while it was starting")
        os._exit(0)  # it compiles or waits for the broker in threads; it owns nothing that another start would miss
    app = await starting
    _spare_the_loop()
    waits = [ended, *(asyncio.ensure_future(wait) for wait in (app.host.failed, app.wait_until_stopped()))]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    stopping = asyncio.create_task(app.stop())
    await asyncio.wait({stopping}, timeout=STOP_S_MAX)
    trouble = _trouble(app, stopping)
    if trouble:
        log.error(f"the worker of {app.conf.id} ends: {trouble}; start it again: what was not written is folded again")
        os._exit(BrokerUnavailable.exit_code)
    for wait in waits:
        wait.cancel()


async def _start(settings: ProcessorSettings) -> DetectorApp:
    await asyncio.to_thread(create_topics, settings.kafka)
    app = DetectorApp(settings)
    await app.start()
    return app


def _trouble(app: DetectorApp, stopping: asyncio.Task[None]) -> str:
    """Why the worker did not end in order; empty when it did."""
    if app.host.failed.done():
        return str(app.host.failed.result())
    if app.crash_reason is not None:
        return f"Faust gave up: {app.crash_reason!r}"
    if not stopping.done():
        return f"stopping took more than {STOP_S_MAX} s"
    return f"stopping failed: {stopping.exception()!r}" if stopping.exception() else ""


def _credentials(settings: KafkaSettings) -> Any:
    context = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def _spare_the_loop() -> None:
    """What was made until now stays and is not searched for garbage again; of the rest, records on their way are most.

    Measured: searching them took half of the CPU time of publishing, and a search of everything stops the loop for
    100 ms. Threads that wait for the loop (source, reports) get their turn within a tenth of a millisecond."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)


def _install_uvloop() -> None:
    try:
        import uvloop
    except ImportError:
        return  # the loop of the standard library does as well, a little later
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def __getattr__(name: str) -> DetectorApp:
    """`app` for Faust's command, made when it is asked for: an import alone needs no broker."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = globals()["app"] = create_app(load(ProcessorSettings))
    except LiqcascadeError as exc:
        raise SystemExit(str(exc)) from exc
    return made
