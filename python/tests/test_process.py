"""The recorder as a part of its process: start, fork, spawn, exit, a collector that goes and comes back, switching."""

import ast
import subprocess
import sys
from pathlib import Path

BOOT = Path(__file__).resolve().parents[1] / "boot" / "sitecustomize.py"

REQUESTS = """
import sys, time
from _demarc import core
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
from _demarc.hooks.asgi import wrap
app = wrap(app)
async def send(m): pass
def get(path):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    try:
        app(scope, None, send).send(None)  # it waits for nothing, so it needs no loop
    except StopIteration:
        pass
"""


def test_start_and_exit(collector):
    p = collector.run(REQUESTS + "get('/x'); print('done')")
    assert p.stdout == "done\n" and p.stderr == ""
    (hello,) = collector.hellos
    assert hello["op"] == "start" and hello["service"] == "test" and hello["version_from"] == "env"
    assert hello["runtime"].endswith("%d.%d.%d" % sys.version_info[:3])
    assert [e["target"] for e in collector.of("request")] == ["/x"]
    assert len(collector.goodbyes) == 1 and collector.stats[-1]["dropped"] == 0


def test_a_request_leaves_no_circle(collector):
    """What only the garbage collector could free would make it run in a service in which it otherwise hardly does."""
    p = collector.run(REQUESTS + """
import gc
get('/warm'); gc.collect(); gc.disable()
for i in range(50): get('/%d' % i)
print(gc.collect())
""")
    assert p.stdout == "0\n"
    assert len(collector.of("request")) == 51


def begun(collector):
    """How the processes began, each once: one that heard no answer says it again."""
    return sorted(op for op, _ in {(h["op"], h["proc"]) for h in collector.hellos})


def test_fork_is_a_process_of_its_own(collector):
    collector.run(REQUESTS + """
import os
get("/parent")
pid = os.fork()
get("/child" if pid == 0 else "/parent2")
if pid: os.waitpid(pid, 0)
""")
    assert begun(collector) == ["fork", "start"]
    by = {e["target"]: e for e in collector.of("request")}
    assert sorted(by) == ["/child", "/parent", "/parent2"], "each exactly once"
    assert by["/parent"]["proc"] == by["/parent2"]["proc"] != by["/child"]["proc"]


def test_fork_while_the_collector_has_not_answered_yet(collector):
    collector.unanswered = 1
    collector.run(REQUESTS + """
import os
get("/parent")
while not os.path.exists("unanswered"): time.sleep(0.01)  # from then on the sender waits for the answer
pid = os.fork()
get("/child" if pid == 0 else "/parent2")
if pid: os.waitpid(pid, 0)
""")
    assert begun(collector) == ["fork", "start"]
    assert [h["op"] for h in collector.hellos].count("start") == 2, "it heard nothing, so it says it again"
    assert sorted(e["target"] for e in collector.of("request")) == ["/child", "/parent", "/parent2"]


def test_fork_without_warning_of_threads(collector):
    p = collector.run("import os, warnings; warnings.simplefilter('error')\n"
                      "import threading; print(threading.active_count())\n"
                      "pid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('ok')")
    assert p.stdout.splitlines().count("ok") == 2 and p.stdout.startswith("1\n") and p.stderr == ""


def test_spawned_process(collector, tmp_path):
    script = tmp_path / "s.py"
    script.write_text("import multiprocessing as m, sys\n" + REQUESTS + """
if __name__ == "__main__":
    m.set_start_method("spawn")
    p = m.Process(target=get, args=("/spawned",)); p.start(); p.join()
    get("/main")
""")
    p = subprocess.run([sys.executable, str(script)], env=collector.env(), capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    collector.settle()
    assert sorted(e["target"] for e in collector.of("request")) == ["/main", "/spawned"]


def test_collector_dies_and_comes_back(collector):
    p = subprocess.Popen([sys.executable, "-c", REQUESTS + """
for line in sys.stdin:
    for i in range(int(line.split()[1])): get(line.split()[0])
    print("served", flush=True)
"""], env=collector.env(config={"max_rate": 0}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True)

    def ask(path, n=1):
        p.stdin.write("%s %d\n" % (path, n))
        p.stdin.flush()
        assert p.stdout.readline() == "served\n"

    ask("/one")
    collector.wait_for(lambda c: c.of("request", target="/one"))
    collector.hang_up()
    ask("/alone", 21_000)
    collector.listen()
    collector.wait_for(lambda c: len(c.of("request", target="/alone")) >= 19_000)
    ask("/two")
    collector.wait_for(lambda c: c.of("request", target="/two"))
    out, err = p.communicate(timeout=60)
    collector.settle()
    first, again = collector.hellos
    assert err == "" and again["op"] == "reconnect" and again["proc"] == first["proc"]
    kept = len(collector.of("request", target="/alone"))
    dropped = collector.stats[-1]["dropped"]
    assert dropped > 0 and kept + dropped >= 21_000 and kept + dropped <= 21_000 + 500, (kept, dropped)


def test_no_collector_at_all(tmp_path, collector):
    env = collector.env()
    collector.hang_up()
    p = subprocess.run([sys.executable, "-c", REQUESTS + "get('/x'); print('done')"], env=env, capture_output=True,
                       text=True, timeout=60)
    collector.listen()
    assert (p.returncode, p.stdout, p.stderr) == (0, "done\n", "")


def test_refused(collector):
    collector.answer = {"wire": 1, "ok": False, "error": "wrong token"}
    p = collector.run(REQUESTS + "get('/x'); time.sleep(1); get('/x'); print('done')")
    assert p.stdout == "done\n" and p.stderr == "" and len(collector.hellos) == 1 and not collector.events


def test_a_slow_answer_at_the_end_costs_no_event(collector):
    collector.delay = 0.5
    collector.run(REQUESTS + """
from _demarc import transport
transport.GRACE = 0.01  # less than the answer takes: it counts from then on
get("/x")
""")
    assert [e["target"] for e in collector.of("request")] == ["/x"] and len(collector.goodbyes) == 1


def test_off_and_on_while_running(collector):
    p = subprocess.Popen([sys.executable, "-c", REQUESTS + """
for line in sys.stdin:
    get(line.strip()); print("served", flush=True)
"""], env=collector.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(path):
        p.stdin.write(path + "\n")
        p.stdin.flush()
        assert p.stdout.readline() == "served\n"

    ask("/1")
    collector.wait_for(lambda c: c.of("request", target="/1"))
    collector.order(recording=False)
    collector.wait_for(lambda c: c.stats and c.stats[-1]["recording"] is False)
    ask("/2")
    collector.order(recording=True)
    collector.wait_for(lambda c: c.stats[-1]["recording"] is True)
    ask("/3")
    collector.wait_for(lambda c: c.of("request", target="/3"))
    p.communicate(timeout=60)
    assert [e["target"] for e in collector.of("request")] == ["/1", "/3"]


def test_demarc_off(collector):
    p = collector.run("import sys; print([m for m in sys.modules if 'demarc' in m], 'sitecustomize' in sys.modules)",
                      DEMARC="off")
    assert p.stdout.startswith("[] ") and not collector.hellos


def test_hooks_can_be_left_out(collector):
    collector.run("import starlette.applications", DEMARC_HOOKS="-asgi")
    assert collector.stats[-1]["hooks"]["asgi"] == "off" and collector.stats[-1]["hooks"]["wsgi"] == "waiting"
    collector.stats.clear()
    collector.run("import starlette.applications", DEMARC_HOOKS="asgi")
    assert collector.stats[-1]["hooks"]["asgi"] == "on" and collector.stats[-1]["hooks"]["wsgi"] == "off"


def test_cache_libraries_without_a_hook_are_named(collector, tmp_path):
    """Those that were imported from where libraries lie; a module of the service's own may have such a name, too."""
    site = tmp_path / "site-packages"
    site.mkdir()
    for folder, name in ((site, "diskcache"), (site, "pylibmc"), (tmp_path, "lru")):
        (folder / (name + ".py")).write_text("")
    collector.run("import sys; sys.path.insert(0, '.'); import diskcache, lru", cwd=tmp_path, PYTHONPATH=str(site))
    hooks = collector.stats[-1]["hooks"]
    assert {name for name, said in hooks.items() if said == "unobserved"} == {"diskcache"}
    assert hooks["redis"] == "waiting"


def test_another_sitecustomize_still_runs(collector, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.mine = __name__")
    p = collector.run("import sitecustomize, sys; print(mine, sitecustomize.__file__); import _demarc.core as c;"
                      "print(c.state.on)", PYTHONPATH=str(tmp_path))
    assert p.stdout == "sitecustomize %s\nTrue\n" % (tmp_path / "sitecustomize.py")


def test_a_broken_recorder_leaves_a_note(collector):
    env = collector.env(DEMARC_KEY_FILE="/nowhere")
    p = subprocess.run([sys.executable, "-c", "print('ok')"], env=env, capture_output=True, text=True)
    assert (p.stdout, p.stderr) == ("ok\n", "")
    (note,) = (Path(collector.dir) / "notes").iterdir()
    assert "did not start: FileNotFoundError" in note.read_text()


def test_a_second_ctrl_c_at_the_end_prints_nothing(collector):
    p = collector.run(REQUESTS + """
import signal
from _demarc import transport
halt = transport._sender.halt
def interrupted(wait):
    signal.raise_signal(signal.SIGINT)
    halt(wait)
transport._sender.halt = interrupted
get("/x")
print("done")
""")
    assert p.stdout == "done\n" and p.stderr == ""


def test_boot_parses_on_every_python():
    """An interpreter that is too old must be able to say so: no syntax newer than 3.4's."""
    tree = ast.parse(BOOT.read_text(), feature_version=(3, 4))
    assert not [n for n in ast.walk(tree) if isinstance(n, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr))]


def test_sampling_keeps_a_key_always_or_never(collector):
    collector.answer = {"wire": 1, "ok": True, "recording": True, "rate": 0.25}
    collector.run(REQUESTS + """
while core.state.rate == 1: time.sleep(0.01)
for i in range(2000): get("/%d" % (i % 400))
""", config={"max_rate": 0})
    seen = {}
    for e in collector.of("request"):
        seen[e["target"]] = seen.get(e["target"], 0) + 1
    assert set(seen.values()) == {5} and 60 < len(seen) < 140
    assert collector.stats[-1]["rate"] == 0.25
    assert collector.stats[-1]["sampled"] == 2000 - 5 * len(seen)


FALLS = """
end = time.time() + 60  # the sender may have to wait for its turn on a busy machine
while core.state.rate == 1 and time.time() < end: get("/%d" % (time.time_ns() % 5000))
"""


ALONE = """
import sqlite3, sys, time
from _demarc import core
db = sqlite3.connect(":memory:")
while core.state.rate == 1: time.sleep(0.01)
if sys.argv[1:]:
    core.current.set(core.Ctx(None, None, False))  # as in a thread that outlived its request
for i in range(100):
    db.execute("select 1 as c%d" % i).fetchall()
"""


def test_what_no_request_asks_is_sampled_by_what_it_asks_also_in_a_thread_that_outlived_one(collector):
    collector.answer = {"wire": 1, "ok": True, "recording": True, "rate": 0.5}
    collector.run(ALONE, config={"max_rate": 0})
    none = [e["text"] for e in collector.of("query")]
    collector.run(ALONE, "outlived", config={"max_rate": 0})
    outlived = [e["text"] for e in collector.of("query")][len(none) :]
    assert none == outlived and 10 < len(none) < 90


def test_a_rate_that_nothing_here_raises_is_the_collectors(collector):
    collector.answer = {"wire": 1, "ok": True, "recording": True, "rate": 0.25}
    p = subprocess.Popen([sys.executable, "-c", REQUESTS + """
for rate in (0.25, 1.0):
    while core.state.rate != rate: time.sleep(0.01)
    print(rate, flush=True)
"""], env=collector.env(config={"max_rate": 0}), stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "0.25\n"
    collector.hang_up()
    collector.answer = {"wire": 1, "ok": True, "recording": True, "rate": 1.0}
    collector.listen()
    assert p.communicate(timeout=60)[0] == "1.0\n"


def test_rate_falls_under_load(collector):
    collector.run(REQUESTS + FALLS + """
for i in range(5000): get("/%d" % i)
""", config={"max_rate": 100})
    assert collector.stats[-1]["rate"] < 0.9 and collector.stats[-1]["sampled"] > 0


def test_a_lowered_rate_outlives_a_reconnection(collector):
    """A collector that comes back does not know how busy the process is: what it allows is a bound."""
    p = subprocess.Popen([sys.executable, "-c", REQUESTS + FALLS + """
import threading
print("fallen", flush=True)
asked = threading.Thread(target=sys.stdin.readline)
asked.start()
while asked.is_alive(): get("/%d" % (time.time_ns() % 5000))
print(core.state.rate)
"""], env=collector.env(config={"max_rate": 100}), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "fallen\n"
    collector.wait_for(lambda c: c.stats and c.stats[-1]["rate"] < 1)  # what it said before was said of before
    collector.hang_up()
    said = len(collector.stats)
    collector.listen()
    collector.wait_for(lambda c: len(c.hellos) == 2 and len(c.stats) > said)
    rate, err = p.communicate("now\n", timeout=60)
    rates = [s["rate"] for s in collector.stats[said:]] + [float(rate)]
    assert err == "" and max(rates) < 0.9, (rates, err)
