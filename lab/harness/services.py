"""The services of the lab as they lie in lab/services, and how each kind is started."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

LAB = Path(__file__).resolve().parents[1]
SERVICES = LAB / "services"
SHARED = LAB / "shared"

# {0} is the port of the first process, {1} of the second.
_COMMANDS = {
    "fastapi": "uvicorn service:app --host 127.0.0.1 --port {0} --no-access-log --log-level warning",
    "flask": "gunicorn service:app --bind 127.0.0.1:{0} --threads 6 --log-level warning",
    "django": "gunicorn service:application --bind 127.0.0.1:{0} --threads 6 --log-level warning",
}


@dataclass(frozen=True)
class Service:
    """One folder of lab/services: service.py (both the service and its twin), drive.py, expected.json, and what there
    is of schema.sql (Postgres), schema.sqlite.sql (SQLite) and demarc.yaml."""

    name: str
    folder: Path
    expected: dict = field(repr=False)

    @property
    def command(self) -> str:
        """With {0} and {1} for ports, to be split at blanks."""
        server = self.expected["server"]
        if server in _COMMANDS:
            return _COMMANDS[server]
        kind, _, rest = server.partition(" ")
        if kind == "two":  # the same service twice, as two processes of one deployment
            one = _COMMANDS[rest]
            return f"python -m two {one} -- {one.replace('{0}', '{1}')}"
        return server

    @property
    def processes(self) -> int:
        return 2 if "{1}" in self.command else 1

    def driver(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"lab_drive_{self.name}", self.folder / "drive.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def line(self, mark: str) -> str:
        """The number of the line of service.py that bears the comment `# lab: MARK`."""
        file = self.folder / "service.py"
        lines = enumerate(file.read_text().splitlines(), 1)
        marked = [number for number, text in lines if text.rstrip().endswith(f"# lab: {mark}")]
        if len(marked) != 1:
            raise ValueError(f"{file}: {len(marked)} lines are marked '# lab: {mark}' instead of one")
        return str(marked[0])


# What demarc can name from inside a service; `outer` needs events of a layer above it.
CAUSES = frozenset(
    "forgot bypass external dependency key-drift order stale-set rollback peer lost index replica vary negative version"
    " ttl alias".split()
)


def load() -> dict[str, Service]:
    """All services, by name: at least one for each cause, and each of these says what is withheld from it."""
    found = {}
    for file in sorted(SERVICES.glob("*/expected.json")):
        name = file.parent.name
        found[name] = Service(name, file.parent, json.loads(file.read_text()))
        if found[name].expected.get("cause") in CAUSES and not found[name].expected.get("withheld", {}).get("missing"):
            raise ValueError(f"{file}: it has a cause, and does not say which field is withheld")
    missing = CAUSES - {service.expected.get("cause") for service in found.values()}
    if missing:
        raise ValueError(f"{SERVICES}: no service for {', '.join(sorted(missing))}")
    return found
