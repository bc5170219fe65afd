"""Recording the simulated exchanges without Kafka: the replay gives what they sent, through a lost connection."""

import asyncio
import json
from collections import Counter
from pathlib import Path

from producers.app import Stage
from producers.recording import Recording
from producers.replay_frames import Replay
from producers.replay_topics import TOPIC_OF, TopicWriter
from producers.settings import ProducerSettings, ProducersSection
from runtime.kafka import topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import Funding, Liquidation, OpenInterest
from stack.simulator.bybit import Bybit
from stack.simulator.gate import Gate
from stack.simulator.okx import Okx
from stack.simulator.server import Simulator, SimulatorOptions
from tests.producers.test_stage import until
from tests.producers.topics import records
from tests.producers.toy import DEADLINE_S

Figures = tuple[str, str, str, float, float, int]


def figures(event: Liquidation) -> Figures:
    return (event.exchange, event.instrument, event.side, event.price, event.quantity, event.event_time_ms)


async def test_replay_gives_what_was_sent(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    folder = tmp_path / "frames"
    exchanges = Simulator(SimulatorOptions(scenario="flash", speed=4.0), [Bybit(), Okx(), Gate()])
    origins = await exchanges.start()
    try:
        section = ProducersSection(
            exchanges=list(origins),
            origins=origins,
            cache_folder=tmp_path,
            backoff_ms_base=5,
            backoff_ms_max=20,
            record_folder=folder,
        )
        stage = Stage(ProducerSettings(producers=section), publish=False)
        task = asyncio.create_task(stage.run())
        await until(lambda: bool(exchanges.status()["sent"].get("bybit")))
        await exchanges.drop("bybit")
        async with asyncio.timeout(60):
            await exchanges.played()
        await until(lambda: exchanges.status()["subscribers"]["bybit"] >= 1)
        stage.stop()
        async with asyncio.timeout(DEADLINE_S):
            await task
        sent = [json.loads(line) for line in exchanges.account.json_lines()]
    finally:
        await exchanges.stop()
    recording = Recording(folder)
    replay = Replay(recording)
    events = [event for replayed in replay for event in replayed.events]
    liquidations = [event for event in events if isinstance(event, Liquidation)]
    fields = ("exchange", "instrument", "side", "price", "quantity", "event_time_ms")
    assert Counter(map(figures, liquidations)) == Counter(tuple(row[name] for name in fields) for row in sent)
    assert len(liquidations) > 100
    assert (recording.damaged, replay.refused) == ([], 0)
    assert {type(event) for event in events} == {Liquidation, OpenInterest, Funding}

    settings = KafkaSettings(bootstrap_servers=kafka, partitions=4)
    with TopicWriter(settings, topic_prefix) as topics:
        topics.write(events)
    for kind, topic in TOPIC_OF.items():
        written = records(settings.model_copy(update={"topic_prefix": topic_prefix}), topic)
        assert len(written) == sum(type(event) is kind for event in events), topic_names(settings).of(topic)
        for message in written:
            event = Codec().decode(kind, message.value() or b"")
            assert message.timestamp()[1] == event.received_time_us // 1_000  # type: ignore[attr-defined]
