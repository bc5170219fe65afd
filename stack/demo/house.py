"""Everything that a demo runs: servers, simulator, stages; started in order, healed, ended in order."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import SecretStr

from producers.exchange import LIQUIDATION
from producers.presence import present
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings, RedisSettings
from schemas.errors import StackError, StoreUnavailable
from stack.demo.options import DemoOptions
from stack.demo.stage import Stage
from stack.embedded import EmbeddedStack
from stack.embedded.ports import HOST, free_port
from stack.embedded.process import last_lines
from stack.simulator.scenarios import EXCHANGES

CONTROL_TIMEOUT_S: Final = 5.0
PARTITIONS: Final = 4  # one detector, thirty assets: a third of the usual number, and of the files
# Captured frames of the others name contracts whose size no source gives: their USD would be invented.
FRAMED: Final = ("binance", "bybit", "okx")


class House:
    """As a context manager: up on entry, everything ended on exit."""

    def __init__(self, options: DemoOptions, data: Path) -> None:
        self.servers = EmbeddedStack(data)
        self.logs = data / "logs"
        self._options = options
        self._simulator_port = free_port()
        self.stages: dict[str, Stage] = {}
        self.simulator: Stage | None = None
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the broker."""
        return KafkaSettings(
            bootstrap_servers=self.environment["LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"], partitions=PARTITIONS
        )

    def _start(self) -> None:
        self.servers.data.path.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.environment = (
            self.servers.start()
            | self._feeds()
            | {
                "LIQCASCADE_KAFKA__PARTITIONS": str(PARTITIONS),
                "LIQCASCADE_REST__PORT": "0",
                "LIQCASCADE_LOG__FORMAT": "json",
            }
        )
        if not self._options.live:
            self.simulator = Stage("simulator", self._simulator_arguments(), self.environment, self.logs)
            self.simulator.start()
        create_topics(self.kafka)
        for name in ("process", "sink"):
            self._start_stage(name)
        if self.simulator is not None:
            self._await_simulator()
        self._start_stage("produce")
        for name, stage in self.stages.items():
            if not (self._options.live and name == "produce"):  # exchanges may be out of reach for long
                stage.await_ready()

    def _feeds(self) -> dict[str, str]:
        """Settings of the producers: where the exchanges are."""
        if self._options.live:
            return {"LIQCASCADE_PRODUCERS__ORIGINS": "{}"}
        simulated = f"http://{HOST}:{self._simulator_port}"
        played = FRAMED if self._options.frames is not None else EXCHANGES
        return {
            "LIQCASCADE_PRODUCERS__EXCHANGES": json.dumps(played),
            "LIQCASCADE_PRODUCERS__ORIGINS": json.dumps({name: f"{simulated}/{name}" for name in played}),
            "LIQCASCADE_PRODUCERS__CACHE_FOLDER": str(self.servers.data.path / "instruments"),
            "LIQCASCADE_DATABASE__RETENTION": "false",  # captured frames have old event times
        }

    def _simulator_arguments(self) -> list[str]:
        options = self._options
        arguments = ["stack.simulator", "--port", str(self._simulator_port), "--seed", str(options.seed)]
        arguments += ["--no-wait-for-subscribers"]
        if options.frames is not None:
            return [*arguments, "--frames", str(options.frames.resolve())]
        repeat = ["--repeat"] if options.seconds is None else []
        return [*arguments, "--scenario", options.scenario, *repeat]

    def _start_stage(self, name: str) -> None:
        stage = self.stages[name] = Stage(name, ["stack.cli", name], self.environment, self.logs)
        stage.start()

    def _await_simulator(self) -> None:
        deadline = time.monotonic() + CONTROL_TIMEOUT_S * 4
        while True:
            try:
                self.control("GET", "status")
                return
            except StackError as exc:
                assert self.simulator is not None
                if time.monotonic() > deadline or self.simulator.pid is None:
                    raise StackError(f"starting the simulator: {last_lines(self.simulator.log)}") from exc
                time.sleep(0.05)

    def control(self, method: str, what: str) -> str:
        """One call to the simulator. Raises StackError."""
        url = f"http://{HOST}:{self._simulator_port}/simulator/{what}"
        try:
            answer = httpx.request(method, url, timeout=CONTROL_TIMEOUT_S)
            answer.raise_for_status()
        except httpx.HTTPError as exc:
            raise StackError(
                f"asking the exchange simulator at {url}: {exc}; see {self.logs / 'simulator.log'}"
            ) from exc
        return answer.text

    def status(self) -> dict[str, Any]:
        """The simulator's account of what it has sent."""
        status: dict[str, Any] = json.loads(self.control("GET", "status"))
        return status

    def out_of_reach(self) -> dict[str, str]:
        """Exchanges whose liquidations are not subscribed to, each with why, as far as the producers say."""
        try:
            states = httpx.get(f"{self.stages['produce'].address}/readyz", timeout=CONTROL_TIMEOUT_S).json()
        except (httpx.HTTPError, ValueError):
            return {"all exchanges": "the producers are starting"}
        url = SecretStr(self.environment["LIQCASCADE_REDIS__URL"])
        try:
            announced = {each.exchange: each for each in present(RedisSettings(url=url)) if each.channel == LIQUIDATION}
        except StoreUnavailable:
            announced = {}
        return {
            exchange: announced[exchange].detail if exchange in announced else state
            for exchange, state in states.items()
            if state != "ok"
        }

    def _children(self) -> list[Stage]:
        return [*self.stages.values(), *([self.simulator] if self.simulator else [])]

    def heal(self) -> list[str]:
        """Start again what has ended by itself; returns the names."""
        return self.servers.heal() + [name for name, stage in self.stages.items() if stage.heal()]

    def inflict(self, fault: str) -> None:
        """One of FAULTS; `heal` mends it."""
        if fault == "feed":
            for name in EXCHANGES:
                self.control("POST", f"drop?exchange={name}")
        elif fault == "database":
            self.servers.postgres.kill()
            self.servers.postgres.start()
        elif fault == "redis":
            self.servers.redis.kill()
            self.servers.redis.start()
        else:
            self.stages[{"detector": "process", "producer": "produce"}[fault]].kill()

    def ask_all_to_stop(self) -> None:
        """SIGTERM for every stage and the simulator; `close` waits for them."""
        for child in self._children():
            child.ask_to_stop()

    def close(self) -> None:
        """End everything that still runs."""
        self.ask_all_to_stop()
        for child in self._children():
            child.await_end()
        if self._options.data is None:
            self.servers.kill()
        else:
            self.servers.stop()
