"""The services that scripts/services observes: how each is prepared, started as its own manual says, and asked.

The traffic is the same in every run, apart from ids that a service draws itself.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from kit import Failure
from kit.recorded import Fact, Recorded

PASSWORD = "a-password-for-nothing"


@dataclass(frozen=True)
class Place:
    """Where a service runs: its folder, its environment's programs, its port, its servers' addresses."""

    folder: Path
    bin: Path
    port: int
    servers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


class Client:
    """A browser of few words: keeps cookies, follows no redirects, notes what it sent."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=["127.0.0.1"]))
        self.sent: list[tuple[str, str, int]] = []
        self._opener = urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPCookieProcessor(self.cookies))

    def send(self, method: str, target: str, data=None, expect: Optional[int] = None, **headers: str) -> Answer:
        """data: a list of pairs is sent as a form, anything else as JSON. A status other than expected is a failure."""
        body = None
        if isinstance(data, list):
            body = urllib.parse.urlencode(data).encode()
            headers.setdefault("Referer", self.base + target)
        elif data is not None:
            body = json.dumps(data).encode()
            headers["Content-Type"] = "application/json"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.base + target, data=body, headers=names, method=method)
        try:
            with self._opener.open(request, timeout=60) as response:
                answer = Answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as error:
            answer = Answer(error.code, error.read(), error.headers)
        except (urllib.error.URLError, http.client.HTTPException) as error:
            raise OSError(f"{method} {target}: {error}") from None
        self.sent.append((method, target, answer.status))
        if expect is not None and answer.status != expect:
            raise Failure(f"{method} {target}: {answer.status} instead of {expect}\n{answer.text[:2000]}")
        return answer

    def get(self, target: str, expect: Optional[int] = None, **headers: str) -> Answer:
        return self.send("GET", target, None, expect, **headers)

    def post(self, target: str, data, expect: Optional[int] = None, **headers: str) -> Answer:
        return self.send("POST", target, data, expect, **headers)

    def cookie(self, name: str) -> str:
        return next((cookie.value or "" for cookie in self.cookies if cookie.name == name), "")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def basic(user: str, password: str = PASSWORD) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class Service:
    """One service. `ready` is asked until it answers; `queries` and `startup` say what Recorded.facts expects."""

    name = ""
    what = ""
    ready = "/"
    queries = True
    startup = False  # whether it asks its database outside requests, too
    servers = False  # whether it wants Postgres and Redis
    afterwards = 0.0  # seconds to wait after the traffic, for work in the background
    exit_codes: tuple[int, ...] = ()  # of an interrupted service, beside those of every other

    def environment(self, place: Place) -> dict[str, str]:
        """Variables that the service reads."""
        return {}

    def preparation(self, place: Place) -> Iterator[tuple[list, dict[str, str]]]:
        """Commands before the start, each with variables of its own."""
        return iter(())

    def command(self, place: Place) -> list:
        raise NotImplementedError

    def traffic(self, client: Client, place: Place) -> None:
        raise NotImplementedError

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        """What must be seen of this service beside Recorded.facts."""
        raise NotImplementedError


def routes(recorded: Recorded, *names: str) -> Fact:
    """The fact that these routes are in the report."""
    absent = [name for name in names if name not in recorded.routes]
    shown = f"absent: {absent}" if absent else f"{len(recorded.routes)}, all {len(names)} expected"
    return "its routes", not absent, shown


def asks(recorded: Recorded, route: str, least: float) -> Fact:
    """The fact that a route's requests ask the database."""
    found = recorded.routes.get(route, {}).get("queries_per_request") or 0
    return f"queries a request of {route}", found >= least, f"{found:.2f}"


class Prefect(Service):
    name = "prefect"
    what = "FastAPI applications mounted in another one, SQLAlchemy over aiosqlite, background services"
    ready = "/api/health"
    startup = True
    afterwards = 3.0

    def environment(self, place: Place) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(place.folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_AUTH_STRING": f"operator:{PASSWORD}",
            "PREFECT_API_URL": f"http://127.0.0.1:{place.port}/api",
        }

    def command(self, place: Place) -> list:
        return ["prefect", "server", "start", "--host", "127.0.0.1", "--port", place.port]

    def traffic(self, client: Client, place: Place) -> None:
        client.get("/api/flows/count", 401)
        flows = []
        for number in range(5):
            flow = self.ask(client, "POST", "/flows/", {"name": f"flow-{number}", "tags": ["trial"]}, 201)
            flows.append(flow.json()["id"])
            self.ask(client, "POST", "/flows/", {"name": f"flow-{number}"}, 200)
        for number in range(20):
            run = {"flow_id": flows[number % 5], "name": f"run-{number}"}
            target = "/flow_runs/" + self.ask(client, "POST", "/flow_runs/", run, 201).json()["id"]
            for state in ("PENDING", "RUNNING", "COMPLETED"):
                self.ask(client, "POST", target + "/set_state", {"state": {"type": state}}, 200, 201)
            self.ask(client, "GET", target, None, 200)
            self.ask(client, "GET", "/flows/" + flows[number % 5], None, 200)
            self.ask(client, "POST", "/flow_runs/filter", {"limit": 10, "sort": "START_TIME_DESC"}, 200)
        self.ask(client, "POST", "/flows/filter", {"limit": 5}, 200)
        self.ask(client, "POST", "/variables/", {"name": "threshold", "value": 3}, 201)
        self.ask(client, "GET", "/variables/name/threshold", None, 200)
        self.ask(client, "GET", "/flows/00000000-0000-4000-8000-000000000000", None, 404)
        self.ask(client, "POST", "/flows/", {"nonsense": True}, 422)
        self.ask(client, "DELETE", "/flows/" + flows[0], None, 204)

    @staticmethod
    def ask(client: Client, method: str, target: str, data: Optional[dict], *expect: int) -> Answer:
        """One call as Prefect's own client makes it: again after a 503, which says that the background services
        were writing to SQLite at the same moment."""
        for wait in (0.1, 0.3, 1.0, 3.0, 0.0):
            answer = client.send(method, "/api" + target, data, None, Authorization=basic("operator"))
            if answer.status != 503:
                break
            time.sleep(wait)
        if answer.status not in expect:
            raise Failure(f"{method} {target}: {answer.status} instead of {expect}\n{answer.text[:2000]}")
        return answer

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        yield routes(
            recorded, "POST /api/flows/", "GET /api/flows/{id}", "POST /api/flow_runs/filter",
            "GET /api/flow_runs/{id}", "POST /api/flow_runs/{id}/set_state",
            "GET /api/variables/name/{name}", "DELETE /api/flows/{id}",
        )  # fmt: skip
        yield asks(recorded, "POST /api/flow_runs/{id}/set_state", 3)
        yield asks(recorded, "GET /api/flows/{id}", 1)
        yield "the user of the Basic credentials", recorded.principals() == 1, recorded.principals()
        asked = {e["db"] for e in recorded.events["query"]}
        yield "one database", asked == {"sqlite"}, asked


class Wagtail(Service):
    name = "wagtail"
    what = "Django: the site that `wagtail start` makes, on SQLite, under runserver with its reloader"
    ready = "/"
    startup = True

    def environment(self, place: Place) -> dict[str, str]:
        return {"PYTHONUNBUFFERED": "1"}

    def preparation(self, place: Place) -> Iterator[tuple[list, dict[str, str]]]:
        yield [place.bin / "wagtail", "start", "shop", "."], {}
        yield [place.bin / "python", "manage.py", "migrate", "-v0"], {}
        user = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        yield [place.bin / "python", "manage.py", "createsuperuser", "--noinput", "--username", "editor",
               "--email", "editor@example.com"], user  # fmt: skip

    def command(self, place: Place) -> list:
        return ["python", "manage.py", "runserver", f"127.0.0.1:{place.port}"]

    def traffic(self, client: Client, place: Place) -> None:
        for _ in range(10):
            client.get("/", 200)
        client.get("/search/?query=welcome", 200)
        client.get("/no/such/page/", 404)
        client.get("/admin/", 302)

        client.get("/admin/login/", 200)
        client.post("/admin/login/", [*self.token(client), ("username", "editor"), ("password", "wrong")], 200)
        client.post("/admin/login/", [*self.token(client), ("username", "editor"), ("password", PASSWORD)], 302)
        client.get("/admin/", 200)
        client.get("/admin/pages/3/", 200)
        for number in range(4):
            form = [
                *self.token(client), ("title", f"Page {number}"), ("slug", f"page-{number}"), ("action-publish", "1"),
                *[(f"comments-{part}_FORMS", "0") for part in ("TOTAL", "INITIAL")],
            ]  # fmt: skip
            client.get("/admin/pages/add/home/homepage/3/", 200)
            client.post("/admin/pages/add/home/homepage/3/", form, 302)
            client.get(f"/page-{number}/", 200)
        client.get("/admin/pages/3/", 200)
        client.get("/admin/reports/site-history/", 200)
        client.get("/search/?query=page", 200)
        client.post("/admin/logout/", self.token(client), 302)

    @staticmethod
    def token(client: Client) -> list[tuple[str, str]]:
        return [("csrfmiddlewaretoken", client.cookie("csrftoken"))]

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        yield routes(
            recorded, "GET /{}", "GET /search/", "GET /admin/", "POST /admin/login/",
            "GET /admin/pages/{parent_page_id}/",
            "POST /admin/pages/add/{content_type_app_name}/{content_type_model_name}/{parent_page_id}/",
        )  # fmt: skip
        yield asks(recorded, "GET /{}", 3)
        yield asks(recorded, "GET /admin/pages/{parent_page_id}/", 10)
        yield "the editor, once logged in", recorded.principals() == 1, recorded.principals()


class Kinto(Service):
    name = "kinto"
    what = "Pyramid on waitress, with Postgres (SQLAlchemy, psycopg2) and Redis"
    ready = "/v1/__heartbeat__"
    startup = True
    servers = True

    def preparation(self, place: Place) -> Iterator[tuple[list, dict[str, str]]]:
        ini = place.folder / "kinto.ini"
        kinto = [place.bin / "python", "-W", "ignore", place.bin / "kinto"]
        yield [*kinto, "init", "--ini", ini, "--backend", "postgresql", "--cache-backend", "redis",
               "--host", "127.0.0.1"], {}  # fmt: skip
        self.configure(ini, place.servers)
        yield [*kinto, "migrate", "--ini", ini], {}
        yield [*kinto, "create-user", "--ini", ini, "-u", "admin", "-p", PASSWORD], {}

    @staticmethod
    def configure(ini: Path, servers: dict[str, str]) -> None:
        """Puts the servers' addresses where `kinto init` left examples."""
        text = ini.read_text()
        postgres, redis = servers["DEMARC_TEST_POSTGRES"], servers["DEMARC_TEST_REDIS"]
        for name, url in (("storage_url", postgres), ("permission_url", postgres), ("cache_url", redis)):
            text = re.sub(rf"(?m)^kinto\.{name} = .*$", f"kinto.{name} = {url}", text)
        ini.write_text(text)

    def environment(self, place: Place) -> dict[str, str]:
        return {"PYTHONWARNINGS": "ignore"}

    def command(self, place: Place) -> list:
        return ["kinto", "start", "--ini", "kinto.ini", "--port", place.port]

    def traffic(self, client: Client, place: Place) -> None:
        admin, reader = {"Authorization": basic("admin")}, {"Authorization": basic("reader")}
        client.get("/v1/", 200)
        client.get("/v1/buckets/blog", 401)
        client.send("PUT", "/v1/accounts/reader", {"data": {"password": PASSWORD}}, 201)
        client.send("PUT", "/v1/buckets/blog", {"permissions": {"read": ["system.Everyone"]}}, 201, **admin)
        client.send("PUT", "/v1/buckets/blog/collections/posts", {}, 201, **admin)
        posts = "/v1/buckets/blog/collections/posts/records"
        ids = []
        for number in range(10):
            body = {"data": {"title": f"Post {number}", "stars": number % 4}}
            ids.append(client.post(posts, body, 201, **admin).json()["data"]["id"])
        for number in range(20):
            who = reader if number % 2 else {}
            client.get(f"{posts}/{ids[number % 10]}", 200, **who)
            client.get(f"{posts}?_limit=5&_sort=-stars", 200, **who)
        client.get(f"{posts}?stars=2", 200)
        client.send("PATCH", f"{posts}/{ids[0]}", {"data": {"stars": 5}}, 200, **admin)
        client.send("PATCH", f"{posts}/{ids[0]}", {"data": {"stars": 1}}, 403, **reader)
        client.send("DELETE", f"{posts}/{ids[1]}", None, 412, If_Match='"1"', **admin)
        client.send("DELETE", f"{posts}/{ids[1]}", None, 200, **admin)
        client.get(f"{posts}/{ids[1]}", 404)
        batch = {"defaults": {"method": "PUT"}, "requests": [
            {"path": f"{posts}/bulk-{number}", "body": {"data": {"title": "b"}}} for number in range(5)
        ]}  # fmt: skip
        client.post("/v1/batch", batch, 200, **admin)

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        records = "/buckets/{bucket_id}/collections/{collection_id}/records"
        yield routes(
            recorded, f"POST /v1{records}", f"GET /v1{records}/{{id}}", f"GET /v1{records}", "POST /v1/batch",
            "PUT /v1/buckets/{id}",
        )  # fmt: skip
        yield asks(recorded, f"GET /v1{records}/{{id}}", 1)
        yield asks(recorded, "POST /v1/batch", 5)
        yield "two users", recorded.principals() == 2, recorded.principals()
        asked = {e["db"] for e in recorded.events["query"]}
        yield "one database", asked == {"postgresql"}, asked
        stores = {store["store"]: store["hits"] for store in recorded.report["stores"]}
        yield "cache hits", any(stores.values()), stores


class Datasette(Service):
    name = "datasette"
    what = "ASGI without a framework on uvicorn, sqlite3 in threads"
    ready = "/-/versions.json"
    startup = True

    def preparation(self, place: Place) -> Iterator[tuple[list, dict[str, str]]]:
        with sqlite3.connect(place.folder / "shop.db") as db:
            db.executescript(
                "CREATE TABLE makers (id INTEGER PRIMARY KEY, name TEXT);"
                "CREATE TABLE goods (id INTEGER PRIMARY KEY, name TEXT, price INTEGER,"
                "                    maker INTEGER REFERENCES makers(id));"
            )
            db.executemany("INSERT INTO makers VALUES (?, ?)", [(n, f"Maker {n}") for n in range(1, 6)])
            goods = [(n, f"Good {n}", n * 7 % 90, n % 5 + 1) for n in range(1, 301)]
            db.executemany("INSERT INTO goods VALUES (?, ?, ?, ?)", goods)
        db.close()
        add = {"sql": "INSERT INTO makers (name) VALUES (:name)", "write": True, "allow": {"id": "root"}}
        metadata = {"databases": {"shop": {"queries": {"add_maker": add}}}}
        (place.folder / "metadata.json").write_text(json.dumps(metadata))
        return iter(())

    def command(self, place: Place) -> list:
        return ["datasette", "serve", "shop.db", "--metadata", "metadata.json", "--root", "--port", place.port]

    def traffic(self, client: Client, place: Place) -> None:
        for page in range(10):
            client.get("/", 200)
            client.get("/shop", 200)
            client.get(f"/shop/goods?_facet=maker&_sort=price&_size={page + 5}", 200)
            client.get(f"/shop/goods/{page + 1}", 200)
            client.get(f"/shop/goods/{page + 1}.json", 200)
            client.get(f"/shop.json?sql=select+count(*)+from+goods+where+price+%3E+{page}", 200)
        client.get("/shop.json?sql=select+nothing+from+nowhere", 400)
        client.get("/shop/no-such-table", 404)
        client.get("/-/static/app.css", 200)
        client.post("/shop/add_maker?_json=1", [("name", "Nobody")], 403)
        found = re.search(r"/-/auth-token\?token=\w+", (place.folder / "service.log").read_text())
        if not found:
            raise Failure("datasette did not print the link with which to log in")
        client.get(found.group(), 302)
        client.get("/-/actor.json", 200)
        client.get("/shop/add_maker", 200)
        for number in range(3):
            form = [("name", f"New {number}"), ("csrftoken", client.cookie("ds_csrftoken"))]
            client.post("/shop/add_maker?_json=1", form, 200)
        client.get("/shop/makers.json", 200)

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        yield routes(recorded, "GET /", "GET /{database}", "GET /{database}/{table}", "GET /{database}/{table}/{pks}")
        yield asks(recorded, "GET /{database}/{table}/{pks}", 1)
        yield asks(recorded, "GET /{database}/{table}", 3)
        yield "the user root", recorded.principals() == 1, recorded.principals()


class Isso(Service):
    name = "isso"
    what = "WSGI on Werkzeug, without Flask, and sqlite3"
    ready = "/info"
    startup = True

    def preparation(self, place: Place) -> Iterator[tuple[list, dict[str, str]]]:
        (place.folder / "isso.cfg").write_text(
            f"[general]\ndbpath = {place.folder}/comments.db\nhost = http://127.0.0.1:{place.port}/\n"
            f"latest-enabled = true\n[server]\nlisten = http://127.0.0.1:{place.port}/\n[guard]\nenabled = false\n"
            f"[admin]\nenabled = true\npassword = {PASSWORD}\n"
        )
        return iter(())

    def command(self, place: Place) -> list:
        return ["isso", "-c", "isso.cfg", "run"]

    def traffic(self, client: Client, place: Place) -> None:
        ids = []
        for number in range(10):
            comment = {"text": f"Comment {number}", "author": "Ann", "title": "A thread"}
            ids.append(client.post(f"/new?uri=%2Fthread-{number % 3}%2F", comment, 201).json()["id"])
        for number in range(10):
            client.get(f"/?uri=%2Fthread-{number % 3}%2F", 200)
            client.get(f"/id/{ids[number]}", 200)
        client.post("/new?uri=%2Fthread-0%2F", {"author": "says nothing"}, 400)
        client.post("/new?uri=%2Fthread-0%2F", ("no object",), 500)
        client.get("/latest?limit=5", 200)
        client.get("/?uri=%2Fnothing%2F", 200)
        client.get("/id/9999", 404)
        client.get("/no-such-route", 404)
        client.send("PUT", f"/id/{ids[0]}", {"text": "Changed"}, 200)
        client.send("DELETE", f"/id/{ids[1]}", None, 200)
        client.post(f"/id/{ids[2]}/like", {}, 200)
        client.post("/login/", [("password", PASSWORD)], 302)
        client.get("/admin/", 200)

    def facts(self, recorded: Recorded) -> Iterator[Fact]:
        yield routes(recorded, "GET /", "POST /new", "GET /id/{id}", "PUT /id/{id}", "GET /admin/", "POST /login/")
        yield asks(recorded, "GET /", 2)
        yield asks(recorded, "POST /new", 3)
        yield "the administrator's session", recorded.principals() == 1, recorded.principals()


SERVICES = (Prefect(), Wagtail(), Kinto(), Datasette(), Isso())
