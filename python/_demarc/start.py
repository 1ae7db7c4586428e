"""What happens at the start of a process under observation."""

import importlib
import os
import sys

from _demarc import config, core, hashing, imports, own, transport
from _demarc.hooks import HOOKS


def start():
    """Reads the settings, waits for the modules that hooks are for, starts the sender."""
    c = config.load()
    if not c.address:
        return
    core.state.config = c
    hashing.set_key(c.key)
    find_own()
    imports.install()
    install_hooks(c)
    core.state.on = True
    transport.begin(c, lambda: service_info(c))


def find_own():
    """Learns which installed packages are the service's own, and leaves their names to the processes it starts."""
    try:
        folders = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
        argv = getattr(sys, "orig_argv", None) or [sys.executable, *sys.argv]  # before 3.10 without -m
        names = own.packages(argv, folders, os.environ.get("DEMARC_OWN", ""))
        paths = [own.place(name, folders) for name in names]
        core.set_own([p for p in paths if p is not None], core.installed_elsewhere())
        if names:
            os.environ["DEMARC_OWN"] = ",".join(names)
    except Exception:
        core.failed("own")


def install_hooks(c):
    """Makes every wanted hook wait for its modules."""
    for hook, module, file, function in HOOKS:
        if not c.wants(hook):
            core.state.hooks[hook] = "off"
            continue
        imports.when_imported(module, hook, _lazy(file, function))


def _lazy(file, function):
    """A patch whose code is only loaded when its module is."""
    return lambda module: getattr(importlib.import_module("_demarc.hooks." + file), function)(module)


# ---- which code is this ---------------------------------------------------------------------------------------------

_info = None
_SKIP = ("node_modules", "site-packages", "venv")
MAX_FILES = 5000  # looked at for the newest time


def service_info(c):
    """(service, version, where the version comes from); found out once, on the sender's thread."""
    global _info
    if _info is None:
        service = c.service or os.path.basename(os.getcwd()) or "service"
        version, source = c.version, "env"
        if not version:
            version, source = git_version(os.getcwd()), "git"
        if not version:
            version, source = newest_file(os.getcwd()), "mtime"
        _info = (service, version, source if version else "")
    return _info


def git_version(folder):
    """The commit that HEAD names, read from .git without running git; "" outside a checkout."""
    try:
        while not os.path.exists(os.path.join(folder, ".git")):
            up = os.path.dirname(folder)
            if up == folder:
                return ""
            folder = up
        git = os.path.join(folder, ".git")
        if os.path.isfile(git):
            with open(git, encoding="utf-8") as f:
                git = os.path.join(folder, f.read(4096).partition("gitdir:")[2].strip())
        with open(os.path.join(git, "HEAD"), encoding="utf-8") as f:
            head = f.read(4096).strip()
        if not head.startswith("ref:"):
            return head[:12]
        ref = head[4:].strip()
        common = git
        shared = os.path.join(git, "commondir")
        if os.path.exists(shared):
            with open(shared, encoding="utf-8") as f:
                common = os.path.join(git, f.read(4096).strip())
        loose = os.path.join(common, ref)
        if os.path.exists(loose):
            with open(loose, encoding="utf-8") as f:
                return f.read(64).strip()[:12]
        with open(os.path.join(common, "packed-refs"), encoding="utf-8") as f:
            for line in f:
                commit, _, name = line.strip().partition(" ")
                if name == ref:
                    return commit[:12]
    except (OSError, ValueError):
        pass
    return ""


def newest_file(folder):
    """The newest modification time of the Python files below a folder, as Unix seconds; "" if there are none."""
    newest, looked = 0, 0
    for base, folders, files in os.walk(folder):
        folders[:] = [d for d in folders if not d.startswith(".") and d not in _SKIP]
        for name in files:
            if name.endswith(".py"):
                looked += 1
                if looked > MAX_FILES:
                    return str(newest)
                try:
                    newest = max(newest, int(os.stat(os.path.join(base, name)).st_mtime))
                except OSError:
                    pass
    return str(newest) if newest else ""
