"""Faust's consumer as the detector has it: what of aiokafka must hold for as long as a source reads instead of it."""

from processors.app import DetectorApp
from processors.settings import ProcessorSettings
from runtime.settings import KafkaSettings


async def test_a_client_that_fetches_nothing_is_never_idle_and_so_stays_in_its_group(kafka: str) -> None:
    app = DetectorApp(ProcessorSettings(kafka=KafkaSettings(bootstrap_servers=kafka, topic_prefix="idle.")))
    client = app.consumer._thread._create_worker_consumer(app.transport)
    client._subscription._last_fetch_ended -= 2 * app.conf.broker_max_poll_interval  # as after a long silence
    assert client._subscription.fetcher_idle_time == 0
    await client.stop()
