PRAGMA journal_mode = WAL;
CREATE TABLE authors (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE articles (id integer PRIMARY KEY, author_id integer NOT NULL REFERENCES authors, title text NOT NULL);
INSERT INTO authors VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO articles VALUES (7, 1, 'first'), (8, 2, 'second');
