"""Writes the corpus of statements that real ORMs send: one JSON object a line on stdout.

Every statement is captured where the ORM hands it to the driver, while it runs against a real database:

    python generate.py sqlalchemy sqlite+pysqlite://                              >> corpus.jsonl
    python generate.py sqlalchemy postgresql+psycopg://postgres@127.0.0.1/postgres >> corpus.jsonl
    python generate.py django     postgresql://postgres@127.0.0.1:5432/postgres    >> corpus.jsonl
    python generate.py django     sqlite://                                        >> corpus.jsonl

SQLAlchemy 1.4 and 2 both run it. The fields: orm, dialect and driver; text, as the driver got it; pg, the
same with parameters spelled $1, $2, which is what a PostgreSQL parser takes (made by Python's own % operator
where the driver's style is %s or %(name)s). The database's schema "orm" is dropped and made again.
"""

import asyncio
import json
import sys

SEEN = set()


class Numbers(dict):
    """Gives every name of a %(name)s text its number, by first appearance."""

    def __missing__(self, key):
        self[key] = f"${len(self) + 1}"
        return self[key]


def number_question_marks(text):
    out, n, quote = [], 0, None
    for c in text:
        if quote:
            quote = None if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == "?":
            n += 1
            c = f"${n}"
        out.append(c)
    return "".join(out)


def emit(orm, dialect, driver, style, text, count):
    if (dialect, driver, text) in SEEN:
        return
    SEEN.add((dialect, driver, text))
    if style == "pyformat":
        pg = text % Numbers() if count else text
    elif style == "format":
        pg = text % tuple(f"${i + 1}" for i in range(count)) if count is not None else text
    elif style == "qmark":
        pg = number_question_marks(text)
    else:
        pg = text
    row = {"orm": orm, "dialect": dialect, "driver": driver, "text": text, "pg": pg}
    sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def run_sqlalchemy(url):
    import sqlalchemy
    from sqlalchemy import event

    import sqlalchemy_work as work

    is_async = "+asyncpg" in url or "+aiosqlite" in url
    if is_async:
        from sqlalchemy.ext.asyncio import create_async_engine

        async_engine = create_async_engine(url)
        engine = async_engine.sync_engine
    else:
        from sqlalchemy import create_engine

        engine = create_engine(url, future=True)
    dialect = engine.dialect
    style = "asyncpg" if dialect.driver == "asyncpg" else dialect.paramstyle

    def seen(conn, cursor, statement, parameters, context, executemany):
        if executemany and isinstance(parameters, (list, tuple)):
            parameters = parameters[0]
        emit(
            f"sqlalchemy {sqlalchemy.__version__}",
            dialect.name,
            dialect.driver,
            style,
            statement,
            len(parameters or ()),
        )

    def prepare(conn):
        if dialect.name == "postgresql":
            conn.exec_driver_sql("DROP SCHEMA IF EXISTS orm CASCADE")
            conn.exec_driver_sql("CREATE SCHEMA orm")
            conn.exec_driver_sql("SET search_path TO orm")
            conn.commit()
        event.listen(engine, "before_cursor_execute", seen)
        work.Base.metadata.create_all(conn)
        conn.commit()
        work.run(conn)

    if is_async:

        async def main():
            async with async_engine.connect() as conn:
                await conn.run_sync(prepare)
            await async_engine.dispose()

        asyncio.run(main())
    else:
        with engine.connect() as conn:
            prepare(conn)


def run_django(url):
    import django

    import django_work as work

    work.configure(url)
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS orm CASCADE")
            cursor.execute("CREATE SCHEMA orm")
            cursor.execute("SET search_path TO orm")

    def seen(execute, sql, params, many, context):
        first = params[0] if many and params else params
        if not isinstance(sql, str):  # psycopg's composed DDL
            sql = sql.as_string(connection.connection)
        emit(
            f"django {django.__version__}",
            connection.vendor,
            connection.vendor,
            "format",
            sql,
            None if first is None else len(first),
        )
        return execute(sql, params, many, context)

    with connection.execute_wrapper(seen):
        work.run()


if __name__ == "__main__":
    {"sqlalchemy": run_sqlalchemy, "django": run_django}[sys.argv[1]](sys.argv[2])
