"""The recorder's settings: a JSON file named by DEMARC_CONFIG, then variables that win over it."""

import json
import os

MAX_CONFIG = 1 << 20  # bytes of the file that are read


class Config:
    """Settings with their defaults. Nothing here changes after the start of the process."""

    __slots__ = (
        "address", "token", "key", "service", "version", "keys", "max_rate", "functions", "principal",
        "only", "without",
    )

    def __init__(self):
        self.address = ""  # unix:/path or tcp:host:port; empty: nothing to send to
        self.token = ""
        self.key = b""  # of the keyed hashes
        self.service = ""
        self.version = ""
        self.keys = "hashed"  # or clear, if somebody says so
        self.max_rate = 5000.0  # events a second above which sampling begins; 0: never
        self.functions = ()  # "module:function", observed by call events
        self.principal = {}  # {"header": name} or {"cookie": name}
        self.only = frozenset()  # hooks named without a minus in DEMARC_HOOKS
        self.without = frozenset()  # hooks named with one

    def wants(self, hook):
        """Whether a hook may be installed."""
        if hook in self.without:
            return False
        return not self.only or hook in self.only


def load(environ=os.environ):
    """Reads the settings. A file that cannot be read is an error: the bootstrap leaves a note and does not record."""
    c = Config()
    values = {}
    path = environ.get("DEMARC_CONFIG")
    if path:
        with open(path, encoding="utf-8") as f:
            values = json.loads(f.read(MAX_CONFIG))

    def get(name, default=""):
        v = environ.get("DEMARC_" + name.upper())
        return v if v is not None else values.get(name, default)

    c.address = str(get("address"))
    c.token = str(get("token"))
    token_file = get("token_file")
    if token_file and not c.token:
        with open(token_file, encoding="ascii") as f:
            c.token = f.read(4096).strip()
    key_file = get("key_file")
    if key_file:
        with open(key_file, encoding="ascii") as f:
            c.key = bytes.fromhex(f.read(4096).strip())
    if not 16 <= len(c.key) <= 64:
        raise ValueError("no hashing key: key_file must hold 32 to 128 hex digits")
    c.service = str(get("service"))
    c.version = str(get("version"))
    c.keys = "clear" if get("keys") == "clear" else "hashed"
    rate = get("max_rate", None)
    if rate is not None:
        c.max_rate = float(rate)
    c.functions = tuple(str(f) for f in values.get("functions") or ())
    c.principal = dict(values.get("principal") or {})
    hooks = [h.strip() for h in str(get("hooks")).split(",") if h.strip()]
    c.only = frozenset(h for h in hooks if not h.startswith("-"))
    c.without = frozenset(h[1:] for h in hooks if h.startswith("-"))
    return c
