"""A price list in Flask: cachetools keeps each product as a dictionary in the process.

The defect: the route for members takes a tenth off in the dictionary that the cache handed out, for everybody and each
time again. The twin works on a copy.
"""

import os
import sqlite3

from cachetools import TTLCache, cached
from flask import Flask, jsonify

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
products = TTLCache(maxsize=1000, ttl=300)


@cached(products)
def product(number):
    connection = sqlite3.connect(os.environ["LAB_SQLITE"])
    connection.row_factory = sqlite3.Row
    try:
        return dict(connection.execute("SELECT id, name, price FROM products WHERE id = ?", (number,)).fetchone())
    finally:
        connection.close()


@app.get("/products/<int:number>")
def show(number):
    return jsonify(product(number))


@app.get("/members/products/<int:number>")
def for_members(number):
    found = product(number)
    if FIXED:
        found = dict(found)
    found["price"] = found["price"] * 9 // 10
    return jsonify(found)


@app.post("/reload")
def reload():
    products.clear()
    return jsonify()
