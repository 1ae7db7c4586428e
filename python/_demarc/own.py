"""Which installed packages are the service's own code.

A service that was installed like any library (`pip install .` in an image, `prefect server start`) lies in
site-packages, and without this its lines of code and its in-process caches would pass for a library's. Its package is
read from the command: the module that a console script imports, the one after -m, or the application that a server
such as uvicorn is told to serve. DEMARC_OWN names packages that the command does not show; processes that this one
starts find in it what was found here.
"""

import os
import re
import sys

MAX_SCRIPT = 4096  # bytes of a console script that are read
MAX_OWN = 16  # packages

# Serve, run or watch what others wrote.
RUNNERS = frozenset(
    "uvicorn uvicorn_worker gunicorn hypercorn daphne granian waitress werkzeug flask django fastapi fastapi_cli"
    " starlette pyramid plaster paste hupper celery kombu rq dramatiq huey gevent eventlet asyncio trio anyio"
    " pytest _pytest unittest coverage tox nox pip uv pipx poetry hatch click typer invoke honcho circus"
    " supervisor watchfiles watchdog watchgod ddtrace newrelic sentry_sdk opentelemetry debugpy pdb IPython"
    " ipykernel jupyter notebook setuptools pkg_resources multiprocessing runpy redis sqlalchemy alembic".split()
)
_IMPORT = re.compile(r"(?m)^\s*(?:from|import)\s+([A-Za-z_]\w*)")
_MODULE = re.compile(r"([A-Za-z_]\w*)(?:\.\w+)*(?::[\w.]+(?:\(.*\))?)?\Z")


def packages(argv, folders, named=""):
    """Names of the installed packages that are the service's own, by its command (sys.orig_argv or like it); folders
    are those that packages are installed in; named is the value of DEMARC_OWN."""
    found = [name.strip() for name in named.split(",") if name.strip()]
    for name in _candidates(argv):
        if name not in RUNNERS and name not in found and place(name, folders) is not None:
            found.append(name)
    return found[:MAX_OWN]


def place(name, folders):
    """The path of an installed package or module; None for one that is not installed."""
    for folder in folders:
        base = os.path.join(folder, name)
        if os.path.isdir(base):
            return base + os.sep
        if os.path.isfile(base + ".py"):
            return base + ".py"
    return None


def _candidates(argv):
    words = list(argv[:200])
    i = 1
    while i < len(words) and words[i].startswith("-"):  # the interpreter's own options
        if words[i] in ("-m", "-c"):
            break
        i += 2 if words[i] in ("-W", "-X") else 1
    if i >= len(words) or words[i] == "-c":
        return
    if words[i] == "-m":
        main = words[i + 1].partition(".")[0] if i + 1 < len(words) else ""
        rest = words[i + 2 :]
    else:
        main = _imported(words[i])
        rest = words[i + 1 :]
    if main and main not in RUNNERS:
        yield main
        return
    for word in rest if main else ():  # what a runner runs; a script of the service's own lies elsewhere
        m = _MODULE.match(word.rpartition("=")[2])
        if m is not None:
            yield m.group(1)


def _imported(script):
    """The first package that a console script imports, "" for what is none."""
    folder = os.path.dirname(os.path.abspath(script))
    if folder not in (os.path.join(sys.prefix, "bin"), os.path.dirname(os.path.abspath(sys.executable))):
        return ""
    try:
        with open(script, "rb") as f:
            text = f.read(MAX_SCRIPT).decode("utf-8", "replace")
    except OSError:
        return ""
    standard = getattr(sys, "stdlib_module_names", ("re", "sys", "os", "importlib", "__future__"))  # from 3.10 on
    for name in _IMPORT.findall(text):
        if name not in standard:
            return name
    return ""
