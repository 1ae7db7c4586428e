"""A service without users: offers, each made of prices that a function looks up. With CACHED in the environment the
function is remembered by the module that demarc choose printed."""

import os
import time

from fastapi import FastAPI
from sqlalchemy import Column, Integer, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base

engine = create_engine(os.environ["PRICES_DB"])
Base = declarative_base()
app = FastAPI()


class Price(Base):
    __tablename__ = "prices"
    item = Column(String, primary_key=True)
    cents = Column(Integer, nullable=False)


Base.metadata.create_all(engine)
with Session(engine) as session:
    if session.get(Price, "pen") is None:
        session.add_all(Price(item=item, cents=cents) for item, cents in (("pen", 120), ("ink", 480), ("pad", 250)))
        session.commit()

computed = 0


def price_of(session, item):
    global computed
    computed += 1
    price = session.execute(select(Price).where(Price.item == item)).scalar_one()
    time.sleep(0.004)  # what else it takes to make a price
    return {"item": price.item, "cents": price.cents}


if os.environ.get("CACHED"):
    import boundaries

    boundaries.follow_commits(engine)
    price_of = boundaries.cached_prices_price_of(price_of)


@app.get("/offers/{item}")
def offer(item: str, page: int = 0):
    with Session(engine) as session:
        price = price_of(session, item)
    return {"page": page, "computed": computed, **price}


@app.put("/prices/{item}/{cents}")
def change(item: str, cents: int):
    with Session(engine) as session:
        session.get(Price, item).cents = cents
        session.commit()
    return {}
