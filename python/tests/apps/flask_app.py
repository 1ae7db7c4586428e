"""A Flask application for tests of the entry hooks."""

from flask import Flask, Response, g

app = Flask(__name__)


@app.get("/a/<int:b>")
def a(b):
    g.user = "bob"
    return {"b": b}


@app.get("/boom")
def boom():
    raise ValueError("x")


@app.get("/s")
def s():
    return Response((x for x in ["a", "b"]), mimetype="text/plain")
