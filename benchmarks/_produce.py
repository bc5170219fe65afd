"""The real `produce` process of a benchmark: started beside simulated exchanges, watched from outside."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil

from runtime.settings import KafkaSettings
from stack.demo.stage import Stage

SAMPLE: Final = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
PUBLISHED: Final = re.compile(
    r'^liqcascade_events_published_total\{[^}]*topic="market\.liquidations"[^}]*\} (\S+)$', re.M
)
ANSWER_S_MAX: Final = 10.0


class Produce:
    """One running `produce`; what it says on /metrics and what the system says of its process."""

    def __init__(self, stage: Stage) -> None:
        assert stage.pid is not None, "started"
        self._stage, self._process = stage, psutil.Process(stage.pid)
        self._client = httpx.Client(base_url=stage.address, timeout=ANSWER_S_MAX)

    def metrics(self) -> dict[str, float]:
        """Sums over all labels by name, and `published`: liquidations that the broker acknowledged."""
        text = self._client.get("/metrics").text
        sums: dict[str, float] = {}
        for name, value in SAMPLE.findall(text):
            sums[name] = sums.get(name, 0.0) + float(value)
        sums["published"] = sum(map(float, PUBLISHED.findall(text)))
        return sums

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of CPU: of the whole process, of its event loop's thread."""
        whole = self._process.cpu_times()
        loop = next(each for each in self._process.threads() if each.id == self._process.pid)
        return whole.user + whole.system, loop.user_time + loop.system_time

    def rss_mb(self) -> float:
        """Resident memory now, in 10^6 bytes."""
        return float(self._process.memory_info().rss) / 1e6

    def rss_mb_peak(self) -> float:
        """The most it ever was."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1_024 / 1e6
        return self.rss_mb()  # a system that does not say


@contextmanager
def producing(kafka: KafkaSettings, origins: dict[str, str], folder: Path) -> Iterator[Produce]:
    """`liqcascade produce` with these exchanges, until the block ends; ready when it begins."""
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "LIQCASCADE_PRODUCERS__EXCHANGES": json.dumps(list(origins)),
        "LIQCASCADE_PRODUCERS__ORIGINS": json.dumps(origins),
        "LIQCASCADE_PRODUCERS__CACHE_FOLDER": str(folder / "cache"),
        "LIQCASCADE_LOG__FORMAT": "json",
    }
    stage = Stage("produce", ["stack.cli", "produce"], environment, folder)
    stage.start()
    try:
        stage.await_ready()
        yield Produce(stage)
    finally:
        stage.ask_to_stop()
        stage.await_end()
