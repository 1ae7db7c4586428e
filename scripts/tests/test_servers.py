"""The tests' own servers: there while needed, and gone however a run ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITH_SERVERS = [sys.executable, str(ROOT / "scripts" / "with-servers")]


def is_open(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=2).close()
    except OSError:
        return False
    return True


def wait_until_closed(url: str) -> bool:
    deadline = time.monotonic() + 30
    while is_open(url) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_open(url)


SHOW = "import os; print(os.environ['DEMARC_TEST_POSTGRES'], os.environ['DEMARC_TEST_REDIS'], flush=True); "


def test_the_command_finds_both_and_its_exit_code_comes_through():
    talk = SHOW + (
        "import psycopg, redis, sys; c = psycopg.connect(os.environ['DEMARC_TEST_POSTGRES']); "
        "print(c.execute('show wal_level').fetchone()[0], c.info.server_version >= 150000); "
        "print(redis.from_url(os.environ['DEMARC_TEST_REDIS']).set('a', 1)); sys.exit(7)"
    )
    answer = subprocess.run([*WITH_SERVERS, sys.executable, "-c", talk], capture_output=True, text=True)
    assert answer.returncode == 7, answer.stderr
    urls, postgres, redis = answer.stdout.splitlines()
    assert (postgres, redis) == ("logical True", "True")
    assert [is_open(url) for url in urls.split()] == [False, False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(number):
    command = [*WITH_SERVERS, sys.executable, "-c", SHOW + "import sys; sys.stdin.read()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        urls = process.stdout.readline().split()
        assert [is_open(url) for url in urls] == [True, True]
        os.kill(process.pid, number)
        code = process.wait(30)
    finally:
        process.stdin.close()  # ends the command where the signal did not reach it
        process.stdout.close()
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert [wait_until_closed(url) for url in urls] == [True, True]


def test_a_command_that_is_not_there():
    answer = subprocess.run([*WITH_SERVERS, "/no/such/command"], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "cannot run /no/such/command: No such file" in answer.stderr


def test_a_missing_server_is_named(tmp_path):
    script = (
        "import os; os.geteuid = lambda: 1000\n"  # as an ordinary user, who may not install packages
        "from kit import servers, Failure\n"
        "servers._PG_FOLDERS = ()\n"
        "try:\n    servers.find_binaries()\nexcept Failure as failure:\n    print(failure)\n"
    )
    env = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert "the tests need PostgreSQL 15 or later, not found here" in answer.stdout, answer.stderr
    assert "apt-get install postgresql" in answer.stdout
