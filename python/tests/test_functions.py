"""Functions that the settings name: a call event each, with the statements and cache operations inside below it."""

CONFIG = {"functions": [
    "shop.pricing:price_for", "shop.pricing:later", "shop.pricing:Basket.total", "shop.pricing:Basket.fixed",
    "shop.pricing:Basket.made", "shop.pricing:numbers", "shop.pricing:nothing", "shop.never:f", "bad",
]}

PRICING = '''
import functools, sqlite3

def price_for(article, quantity=1, *, token=None):
    """The price."""
    if article == "boom":
        raise LookupError("no such article")
    db = sqlite3.connect(":memory:")
    (row,) = db.execute("select ? * ?", (quantity, 10)).fetchall()
    return {"price": row[0]}

async def later(n):
    return str(n)

class Basket:
    def __init__(self, n): self.n = n
    def total(self, extra): return self.n + extra
    @staticmethod
    def fixed(x): return x
    @classmethod
    def made(cls, x): return cls(x)

def numbers():
    yield 1
'''

SERVICE = """
import asyncio, inspect, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from shop.pricing import Basket, later, numbers, price_for

async def page(request):
    price_for("a", 2)
    await later(1)
    return JSONResponse(price_for(quantity=2, article="a", token="s3cret"))

def main():
    print(price_for.__name__, price_for.__doc__, inspect.signature(price_for), inspect.iscoroutinefunction(later))
    print(TestClient(Starlette(routes=[Route("/", page)])).get("/").json())
    b = Basket(3)
    print(b.total(1), b.total(extra=1), Basket(4).total(1), Basket.fixed(5), b.fixed(5), Basket.made(6).n)
    print(list(numbers()), asyncio.run(later(2)), price_for("a"), price_for("a", 1))
    try:
        price_for("boom")
    except LookupError as e:
        print(e)
"""


def run(collector, tmp_path, **more):
    (tmp_path / "shop").mkdir(exist_ok=True)
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "pricing.py").write_text(PRICING)
    (tmp_path / "service.py").write_text(SERVICE)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         config=CONFIG, **more).stdout


def test_calls(collector, tmp_path):
    observed = run(collector, tmp_path)
    assert observed == run(collector, tmp_path, DEMARC="off")
    calls = collector.of("call")
    first, second, third = collector.of("call", trace=collector.of("request")[0]["trace"])
    request = collector.of("request")[0]
    assert [c["code"] for c in (first, second, third)] == [
        "shop.pricing:price_for:4", "shop.pricing:later:12", "shop.pricing:price_for:4"]
    assert {c["parent"] for c in (first, second, third)} == {request["span"]}
    assert first["principal"] == request["principal"]
    queries = collector.of("query", trace=request["trace"])
    assert [q["parent"] for q in queries] == [first["span"], third["span"]]
    assert first["result_hash"] == third["result_hash"] and second["bytes"] == 1
    assert first["args"]["article"] == third["args"]["article"] and set(first["args"]) == {
        "article", "quantity", "token"}
    assert first["args_hash"] != third["args_hash"]  # for the token
    default, written = [c for c in calls if c["code"].startswith("shop.pricing:price_for")][2:4]
    assert default["args_hash"] == written["args_hash"] and "trace" not in default
    totals = [c for c in calls if "Basket.total" in c["code"]]
    assert len({c["args_hash"] for c in totals}) == 1 and len({c["result_hash"] for c in totals}) == 2
    assert len([c for c in calls if "Basket.fixed" in c["code"]]) == 2
    assert len([c for c in calls if "Basket.made" in c["code"]]) == 1
    (failed,) = [c for c in calls if "error" in c]
    assert failed["error"].startswith("LookupError at shop.pricing:price_for:7") and "result_hash" not in failed
    assert "s3cret" not in str(collector.events)
    hooks = {k: v for s in collector.stats for k, v in s["hooks"].items() if k.startswith("functions:")}
    assert hooks == {
        "functions:shop.pricing:price_for": "on", "functions:shop.pricing:later": "on",
        "functions:shop.pricing:Basket.total": "on", "functions:shop.pricing:Basket.fixed": "on",
        "functions:shop.pricing:Basket.made": "on", "functions:shop.pricing:numbers": "failed",
        "functions:shop.pricing:nothing": "failed", "functions:shop.never:f": "waiting", "functions:bad": "failed"}


BROKEN = """
import sys; sys.path.insert(0, ".")
import asyncio
from shop.pricing import price_for, later
import _demarc.hooks.functions as hook
from _demarc import core

def fail(*a, **k): raise RuntimeError("injected")

def answers():
    return repr([price_for("a", 3), asyncio.run(later(3))])

want = answers()
for owner, name in ((hook, "next_id"), (hook, "_arguments"), (hook, "emit"), (hook.hashing, "hash_value"),
                    (hook.hashing, "hash_param"), (core.Ctx, "child")):
    original = getattr(owner, name)
    before = sum(core.state.failures.values())
    setattr(owner, name, fail)
    try:
        got = answers()
    except RuntimeError as e:
        got = e
    setattr(owner, name, original)
    core.state.disabled.clear()
    print(name, got == want, sum(core.state.failures.values()) > before)
"""


def test_a_failing_hook_steps_aside(collector, tmp_path):
    run(collector, tmp_path)
    out = collector.run(BROKEN, cwd=tmp_path, config=CONFIG).stdout.splitlines()
    assert len(out) == 6 and all(line.endswith(" True True") for line in out), out
