"""A Postgres and a Redis of our own for the tests, in a temporary folder, on free loopback ports.

A guard process owns both servers. It holds one end of a pipe whose other end this process keeps open: when
that is closed, by us or because we were killed, the guard stops the servers and removes the folder. So
nothing is left behind, however a run ends.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kit import ROOT, Failure, locked
from kit.packages import install_debian

POSTGRES_OLDEST = 15
REDIS_OLDEST = 7
USER = "demarc"
REDIS_DATABASES = 64

_PG_TOOLS = ("initdb", "pg_ctl", "postgres", "psql")
_PG_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
# Everything is thrown away at the end, so nothing is flushed; wal_level lets tests read the log of changes.
_PG_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = logical
max_wal_senders = 10
max_replication_slots = 20
wal_retrieve_retry_interval = 200ms
max_connections = 200
shared_buffers = 64MB
logging_collector = off
"""


@dataclass(frozen=True)
class Binaries:
    """Where the servers are: the folder of Postgres' programs, and redis-server."""

    postgres: Path
    redis: Path


def find_binaries() -> Binaries:
    """Finds both servers, or installs Debian's packages where that is allowed, or fails with the package's
    name."""
    with locked("servers"):
        postgres = _find_postgres()
        if postgres is None:
            install_debian(
                "postgresql", f"the tests need PostgreSQL {POSTGRES_OLDEST} or later, not found here"
            )
            postgres = _find_postgres()
        redis = _find_redis()
        if redis is None:
            install_debian("redis-server", f"the tests need Redis {REDIS_OLDEST} or later, not found here")
            redis = _find_redis()
        if shutil.which("memcached") is None:
            install_debian("memcached", "the tests need memcached, not found here")
        if shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
            install_debian("nginx-light", "the tests need nginx, not found here")
    if postgres is None:
        raise Failure(f"the packaged PostgreSQL is older than {POSTGRES_OLDEST}: install a newer one")
    if redis is None:
        raise Failure(f"the packaged Redis is older than {REDIS_OLDEST}: install a newer one")
    return Binaries(postgres, redis)


class Servers:
    """Running servers; a context manager. Suites that run at the same time take a database each."""

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries
        self._lock = threading.Lock()
        self._names: list[str] = []

    def __enter__(self) -> Servers:
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "kit.servers", str(self._binaries.postgres), str(self._binaries.redis)],
            cwd=ROOT / "scripts",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        line = self._guard.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process that starts them ended at once"}
        if "error" in answer:
            self.__exit__()
            raise Failure(f"cannot start the servers: {answer['error']}")
        self._postgres_port, self._redis_port = answer["postgres"], answer["redis"]
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.stdin.close()
        self._guard.wait()
        self._guard.stdout.close()

    def databases(self, name: str) -> dict[str, str]:
        """A new Postgres database and a Redis database that no other name here has, as the tests'
        variables."""
        with self._lock:
            if name in self._names:
                raise ValueError(f"the databases {name!r} were handed out before")
            if len(self._names) == REDIS_DATABASES:
                raise Failure(f"more than {REDIS_DATABASES} suites want databases")
            number = len(self._names)
            self._names.append(name)
        name = re.sub(r"\W+", "_", name)  # not every driver takes other characters in an address
        server = f"postgresql://{USER}@127.0.0.1:{self._postgres_port}"
        answer = subprocess.run(
            [
                self._binaries.postgres / "psql",
                "-X",
                "-q",
                "-c",
                f'CREATE DATABASE "{name}"',
                f"{server}/postgres",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if answer.returncode != 0:
            raise Failure(f"cannot create the database {name}: {answer.stderr.strip()}")
        return {
            "DEMARC_TEST_POSTGRES": f"{server}/{name}",
            "DEMARC_TEST_REDIS": f"redis://127.0.0.1:{self._redis_port}/{number}",
        }


def _find_postgres() -> Path | None:
    folders = [
        Path(tool).resolve().parent for tool in [shutil.which("initdb"), shutil.which("pg_ctl")] if tool
    ]
    for pattern in _PG_FOLDERS:
        folders += [Path(folder) for folder in sorted(glob.glob(pattern), reverse=True)]
    for folder in folders:
        if (
            all(os.access(folder / tool, os.X_OK) for tool in _PG_TOOLS)
            and _major(folder / "postgres") >= POSTGRES_OLDEST
        ):
            return folder
    return None


def _find_redis() -> Path | None:
    path = shutil.which("redis-server")
    return Path(path) if path and _major(Path(path)) >= REDIS_OLDEST else None


def _major(program: Path) -> int:
    """The major version that a server prints: "postgres (PostgreSQL) 15.8", "Redis server v=7.0.15 …"; 0 for
    none."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"(?:\)\s+|v=)(\d+)", answer.stdout)
    return int(match.group(1)) if match else 0


# From here on: the guard.


def _guard(binaries: Binaries) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C reaches our starter, which then closes the pipe
    folder = Path(tempfile.mkdtemp(prefix="demarc-servers-"))
    folder.chmod(0o755)
    owner = _unprivileged()
    redis = None
    try:
        postgres_port = _start_postgres(binaries.postgres, folder, owner)
        redis, redis_port = _start_redis(binaries.redis, folder)
        print(json.dumps({"postgres": postgres_port, "redis": redis_port}), flush=True)
        sys.stdin.read()
    except (Failure, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
    finally:
        if redis is not None:
            redis.kill()
            redis.wait()
        _pg_ctl(binaries.postgres, folder, owner, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> dict:
    """For root: the arguments that start a process as an ordinary user, because Postgres refuses to run as
    root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Failure("Postgres does not run as root, and there is no user postgres or nobody to run it")


def _start_postgres(programs: Path, folder: Path, owner: dict) -> int:
    home = folder / "postgres"
    home.mkdir(mode=0o700)
    if owner:
        os.chown(home, owner["user"], owner["group"])
    _ask(
        [
            programs / "initdb",
            "-D",
            home / "data",
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ],
        folder,
        owner,
    )
    with open(home / "data" / "postgresql.conf", "a") as settings:
        settings.write(_PG_SETTINGS)
    for attempt in range(5):  # between asking for a free port and using it, somebody else may take it
        port = free_port()
        answer = _pg_ctl(programs, folder, owner, "-t", "120", "-l", home / "log", "-o", f"-p {port}", "start")
        if answer.returncode == 0:
            return port
        log = (home / "log").read_text(errors="replace") if (home / "log").exists() else ""
        if "Address already in use" not in log or attempt == 4:
            raise Failure(f"Postgres did not start\n{answer.stdout}{log}")
        (home / "log").unlink()
    raise AssertionError("unreachable")


def _pg_ctl(programs: Path, folder: Path, owner: dict, *args: object) -> subprocess.CompletedProcess:
    # Its output goes to a file: the server it starts would keep a pipe open for ever.
    with open(folder / "pg_ctl.out", "w+") as out:
        answer = subprocess.run(
            [str(arg) for arg in (programs / "pg_ctl", "-D", folder / "postgres" / "data", "-w", *args)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_plain_environment(folder),
            **owner,
        )
        out.seek(0)
        answer.stdout = out.read()
    return answer


def _start_redis(program: Path, folder: Path) -> tuple[subprocess.Popen, int]:
    for _ in range(5):
        port = free_port()
        argv = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        argv += ["--protected-mode", "no", "--dir", str(folder), "--databases", str(REDIS_DATABASES)]
        with open(folder / "redis.log", "wb") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if _answers_ping(port):
                return process, port
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise Failure(f"Redis did not start\n{(folder / 'redis.log').read_text(errors='replace')}")


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _ask(argv: list, folder: Path, owner: dict) -> None:
    answer = subprocess.run(
        [str(arg) for arg in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=_plain_environment(folder),
        **owner,
    )
    if answer.returncode != 0:
        raise Failure(f"exit code {answer.returncode}: {' '.join(str(arg) for arg in argv)}\n{answer.stdout}")


def _plain_environment(folder: Path) -> dict[str, str]:
    """Without PGDATA, PGPORT and the like of whoever runs the tests."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A port that nobody else is given for a minute: where a connection has just ended, the system hands out none, but
    a server may listen."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()
        return listener.getsockname()[1]


if __name__ == "__main__":
    _guard(Binaries(Path(sys.argv[1]), Path(sys.argv[2])))
