"""Our worker and its peers on one topic in one run: count and USD sum by asset in six hopping windows of ten steps.

Ours is measured with everything on (metrics, levels, alerts, published states and windows, journal, snapshots), from
the assignment to the last acknowledgement. A peer does the windows alone, publishes nothing and keeps no changelog
where it can do without one, and its clock starts at the first record that it is handed; slow ones take a part of the
topic. All that favours the peers. Faust's own tables hold three of the six windows."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks._workload import Broker, assets, broker, preload
from benchmarks.worker import work
from runtime.kafka import confluent_config
from schemas.errors import StackError
from schemas.topics import LIQUIDATIONS
from stack.embedded.downloads import cache_folder, kafka_jars
from stack.embedded.jars import KAFKA_JARS, Jar

EVENTS: Final = 1_000_000
ASSETS: Final = 10
ROOT: Final = Path(__file__).parent.parent
PROGRAMS: Final = Path(__file__).parent / "_peers"
SCHEMA: Final = ROOT / "schemas" / "avsc" / "Liquidation.1.avsc"
ENVIRONMENT: Final = ROOT / ".venv-peers"  # quixstreams and bytewax ask for what the project does not need
PEER_S_MAX: Final = 900.0  # ten times what the slowest takes on a quiet machine
FAUST_CHANGELOGS: Final = tuple(f"peer-faust-sums-{size_ms}-changelog" for size_ms in (10_000, 60_000, 300_000))
STREAMS_JARS: Final = (
    Jar(
        "org.apache.kafka:kafka-streams:4.1.1",
        2_051_917,
        "e554318dbc2b07461f714be32bb324744ba993eb7a49f938792beff577d7044b",
    ),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A program and how much of the topic it takes: ten seconds and more of its work.

    `command(folder)`: how it is called, before its arguments; None where the machine cannot run it."""

    name: str
    events: int
    windows: int
    command: Callable[[Path], list[str] | None]


def run() -> dict[str, object]:
    """{"ours": {…}, "<peer>": {"events_per_s", "events_per_cpu_s", "ratio", "cpu_ratio", …}, …}; ratio: ours / peer."""
    with broker() as own:
        preload(own.kafka, EVENTS, assets(ASSETS), end_ms=time.time_ns() // 1_000_000)
        _create_changelogs(own)
        result: dict[str, dict[str, Any]] = {"ours": work(own, EVENTS)}
        _say("liqcascade", result["ours"])
        for peer in PEERS:
            figures = _measure(peer, own)
            if figures is not None:
                for ratio, rate in (("ratio", "events_per_s"), ("cpu_ratio", "events_per_cpu_s")):
                    figures[ratio] = round(result["ours"][rate] / figures[rate], 1)
            result[peer.name] = figures or {"left_out": "no JDK on this machine"}
            _say(peer.name, result[peer.name])
    return dict(result)


def _measure(peer: Peer, own: Broker) -> dict[str, Any] | None:
    folder = own.folder / peer.name
    folder.mkdir()
    command = peer.command(folder)
    if command is None:
        return None
    arguments = [own.kafka.bootstrap_servers, LIQUIDATIONS.name, str(peer.events), str(SCHEMA)]
    log, environment = folder / "log", os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        with log.open("wb") as lines:
            done = subprocess.run(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=lines,
                timeout=PEER_S_MAX,
                check=True,
                cwd=folder,
                env=environment,
            )
    except subprocess.SubprocessError as exc:
        raise StackError(f"running {peer.name}: {exc}; {log.read_text(errors='replace')[-500:]}") from exc
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(b"{")]  # others are the library's
    took = json.loads(line)
    return {
        "events": peer.events,
        "windows": peer.windows,
        "events_per_s": round(peer.events / took["wall_s"]),
        "events_per_cpu_s": round(peer.events / took["cpu_s"]),
    }


def _say(name: str, figures: dict[str, Any]) -> None:
    columns = ("events", "events_per_s", "ratio", "events_per_cpu_s", "cpu_ratio")
    if name == "liqcascade":
        print(f"{'':14}" + "".join(f"{column:>18}" for column in columns), file=sys.stderr)
    row = figures.get("left_out") or "".join(f"{figures.get(column, ''):>18}" for column in columns)
    print(f"{name:14}{row}", file=sys.stderr)


def _create_changelogs(own: Broker) -> None:
    """Faust does not see a changelog topic that it made itself before it writes to it."""
    admin = AdminClient(confluent_config(own.kafka))
    for made in admin.create_topics([NewTopic(name, own.kafka.partitions, 1) for name in FAUST_CHANGELOGS]).values():
        made.result()


def _faust(folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks._peers.faust_tables"]


def _python(program: str) -> Callable[[Path], list[str]]:
    return lambda folder: [str(_environment()), "-m", f"benchmarks._peers.{program}"]


def _kafka_streams(folder: Path) -> list[str] | None:
    """Compiled here, by the JDK of the machine: the embedded Java has no compiler."""
    compiler, java = shutil.which("javac"), shutil.which("java")
    if compiler is None or java is None:
        return None
    jars = os.pathsep.join(str(jar) for jar in kafka_jars(cache_folder(), (*KAFKA_JARS, *STREAMS_JARS)))
    subprocess.run([compiler, "-cp", jars, "-d", str(folder), str(PROGRAMS / "Peer.java")], check=True)
    return [java, "-cp", os.pathsep.join((jars, str(folder))), "Peer"]


def _environment() -> Path:
    """The interpreter of an environment of their own; made, or made anew, where the pinned requirements changed."""
    lock = PROGRAMS / "requirements.lock"
    stamp, digest = ENVIRONMENT / "made-of", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = ENVIRONMENT / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != digest:
        print(f"making {ENVIRONMENT.name}, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "--requirement", str(lock)], check=True)
        stamp.write_text(digest)
    return python


PEERS: Final = (
    Peer("kafka-streams", 900_000, 6, _kafka_streams),
    Peer("bytewax", 100_000, 6, _python("bytewax_flow")),
    Peer("quix", 20_000, 6, _python("quix")),
    Peer("faust-tables", 3_000, 3, _faust),
)
