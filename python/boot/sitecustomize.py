"""Puts demarc's recorder into a Python process, and steps aside.

Python imports the first sitecustomize that it finds. This one starts the recorder, takes its own folder off the path,
and then runs the sitecustomize that would have run without it. It must parse on every Python there is, so that one
that is too old can say so instead of failing.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _note(problem):
    """Leaves a line for the collector, which cannot hear of this process in another way."""
    config = os.environ.get("DEMARC_CONFIG")
    if not config:
        return
    folder = os.path.join(os.path.dirname(config), "notes")
    try:
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
        with open(os.path.join(folder, "%d.txt" % os.getpid()), "w") as f:
            f.write(problem + "\n")
    except (IOError, OSError):
        pass


def _start():
    if os.environ.get("DEMARC", "").lower() in ("off", "0", "no", "false"):
        return
    if sys.version_info < (3, 9):
        _note("Python %d.%d is too old: the recorder needs 3.9 or later" % sys.version_info[:2])
        return
    try:
        from importlib.util import module_from_spec, spec_from_file_location

        package = os.path.join(os.path.dirname(_HERE), "_demarc")
        spec = spec_from_file_location(
            "_demarc", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
        )
        module = module_from_spec(spec)
        sys.modules["_demarc"] = module
        spec.loader.exec_module(module)
        from _demarc import start

        start.start()
    except Exception as e:  # the service comes first, whatever is wrong with the recorder
        _note("the recorder did not start: %s: %s" % (type(e).__name__, e))


def _chain():
    """Runs the sitecustomize that this one hides, if there is one, under its own name."""
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _HERE]
    me = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as e:
        if getattr(e, "name", "sitecustomize") != "sitecustomize":
            raise
        if me is not None:
            sys.modules["sitecustomize"] = me


_start()
_chain()
