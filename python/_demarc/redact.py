"""What keys, targets and SQL may show. Values never leave the process in clear where they look like a secret; with
keys hashed, no variable part does. Literals in SQL become placeholders."""

import re

from _demarc import core
from _demarc.hashing import hash_text

_CACHE = 20_000

# A name whose value is never kept.
SECRET_NAME = re.compile(
    r"(?i)(?:^|[_\-.\[])(?:token|secret|passw(?:or)?d|pwd|code|auth(?:orization)?|api_?key|key|sig(?:nature)?|session(?:id)?"
    r"|sid|jwt|otp|pin|credentials?|access|refresh|e?mail|phone|ssn|card)(?:$|[_\-.\]])|token$|password$|secret$|email$"
)
# A value that looks like one: an e-mail address, a JWT, or 32 or more characters of hex or base64 without structure.
SECRET_VALUE = re.compile(
    r"[^\s@/:|?&=]+(?:@|%40)[^\s@/:|?&=]+\.[A-Za-z]{2,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|(?<![\w-])(?=[\w+-]*\d)(?=[\w+-]*[A-Za-z])[A-Za-z0-9_+-]{32,}={0,2}(?![\w-])"
)
UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


# What is long but reads as words: such as an article's slug. Tokens have longer stretches or capitals.
SLUG = re.compile(r"[a-z0-9]{1,16}(?:[-_][a-z0-9]{1,16}){2,}$")


def hidden(value):
    """What stands in place of a value: its keyed hash, recognisable and comparable."""
    return "~" + hash_text(value).hex()


def _secret(m):
    found = m.group(0)
    return found if UUID.match(found) or SLUG.match(found) else hidden(found)


_targets = {}  # path, or path and query, as they came -> the target
_TARGET_CACHED = 1_024  # characters; longer ones are read each time


def target(path, query):
    """A request's target as it may be kept: path and query as sent, secrets hidden; with keys hashed, the values of
    the query and the variable segments of the path hidden, too. Takes two texts, or two bytes in latin-1."""
    full = (path, query) if query else path
    kept = _targets.get(full)
    return _learn_target(full, path, query) if kept is None else kept


def _learn_target(full, path, query):
    if type(path) is bytes:
        path = path.decode("latin-1").partition("?")[0]
    if type(query) is bytes:
        query = query.decode("latin-1")
    kept = _target(path, query)[:2048]
    if len(path) + (len(query) if query else 0) <= _TARGET_CACHED:
        if len(_targets) >= _CACHE:
            _targets.clear()
        _targets[full] = kept
    return kept


def _target(path, query):
    hash_all = core.state.config.keys == "hashed"
    if hash_all:
        path = "/".join(hidden(s) if variable(s) else s for s in path.split("/"))
    else:
        path = SECRET_VALUE.sub(_secret, path)
    if not query:
        return path
    parts = []
    for pair in query.split("&"):
        name, eq, value = pair.partition("=")
        if value and (hash_all or SECRET_NAME.search(name)):
            value = hidden(value)
        elif value:
            value = SECRET_VALUE.sub(_secret, value)
        if hash_all or not eq:
            name = SECRET_VALUE.sub(_secret, name)
        parts.append(name + eq + value)
    return path + "?" + "&".join(parts)


def variable(segment):
    """Whether a segment of a key or path looks like a value and not like a name: it holds a digit, or anything but
    lower-case letters, dashes, dots and underscores. A version such as v2 is a name."""
    if not segment or len(segment) == 2 and segment[0] == "v" and segment[1].isdigit():
        return False
    return not _NAME.match(segment)


_NAME = re.compile(r"[A-Za-z_.\-{}*]{1,40}$")
_SPLIT = re.compile(r"([:/|])")
_keys = {}


def key(k):
    """A cache key as it may be kept."""
    kept = _keys.get(k)
    if kept is None:
        kept = _key(k)
        if len(_keys) >= _CACHE:
            _keys.clear()
        if len(k) <= 512:
            _keys[k] = kept
    return kept


def _key(k):
    if len(k) > 512:
        k = k[:400] + "…" + hidden(k)
    if core.state.config.keys != "hashed":
        return SECRET_VALUE.sub(_secret, k)
    return "".join(s if i % 2 or not variable(s) else hidden(s) for i, s in enumerate(_SPLIT.split(k)))


# Literals and what must be passed over to find them: comments, quoted names, dollar quotes, placeholders.
_SQL = re.compile(
    r"(?P<skip>--[^\n]*|/\*.*?\*/|\"(?:[^\"]|\"\")*\"|`[^`]*`|%\(\w+\)s|[$:@]\w+|[A-Za-z_]\w*)"
    r"|(?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    r"|(?P<text>'(?:[^'\\]|\\.|'')*'?)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)",
    re.S,
)
_LITERAL = re.compile(r"['$]|(?<![\w$:@])\d|(?<![\w])\.\d|--|/\*")
_sql = {}
_SQL_CACHED = 8_192  # characters; longer statements, such as bulk inserts with their values, are read each time


def _literal(m):
    if m.lastgroup == "skip":
        s = m.group("skip")
        return " " if s.startswith(("--", "/*")) else s
    return "'?'"


def sql(statement):
    """The number (core.text) of a statement with its literals and comments replaced; seen once, looked up after."""
    n = _sql.get(statement)
    if n is None:
        if type(statement) is not str:
            statement = str(statement)
            n = _sql.get(statement)
            if n is not None:
                return n
        shown = statement[: core.MAX_TEXT]
        if _LITERAL.search(shown):
            shown = _SQL.sub(_literal, shown)
        n = core.text(shown)
        if len(statement) <= _SQL_CACHED:
            if len(_sql) >= _CACHE // 4:
                _sql.clear()
            _sql[statement] = n
    return n
