"""Runs a patch right after a module was imported, without importing anything the service would not have imported.

A finder at the front of sys.meta_path looks only at the names it waits for; for those it lets the other finders find
the module and puts the patch behind the loader's exec_module on that one loader object.
"""

import sys

from _demarc import core

_waiting = {}  # module name -> list of (hook, patch)
_finding = set()


class _Finder:
    """Waits for the modules that hooks are for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _waiting or name in _finding:
            return None
        _finding.add(name)
        try:
            spec = None
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                if finder is _Finder or find is None:
                    continue
                spec = find(name, path, target)
                if spec is not None:
                    break
        finally:
            _finding.discard(name)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _apply(name, module)

        try:
            spec.loader.exec_module = exec_module
        except AttributeError:  # a loader without a place for attributes is left as it is
            return None
        return spec


UNUSED = "unused"  # what a patch returns where a library's import does not yet mean that the service works with it


def _apply(name, module):
    for hook, patch in _waiting.pop(name, ()):
        try:
            if patch(module) is not UNUSED:
                in_use(hook)
        except Exception:
            core.failed(hook)
            core.state.hooks[hook] = "failed"


def in_use(hook):
    """Notes that the service has what a hook is for."""
    if core.state.hooks.get(hook) in (None, "waiting"):
        core.state.hooks[hook] = "on"


def when_imported(name, hook, patch):
    """Calls patch(module) once the module `name` is there: now, or when it has been imported."""
    _waiting.setdefault(name, []).append((hook, patch))
    core.state.hooks.setdefault(hook, "waiting")
    module = sys.modules.get(name)
    if module is not None and getattr(getattr(module, "__spec__", None), "_initializing", False) is not True:
        _apply(name, module)


def install():
    """Puts the finder in front."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
