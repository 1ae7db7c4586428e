PRAGMA journal_mode = WAL;
CREATE TABLE articles (id integer PRIMARY KEY, title text NOT NULL);
INSERT INTO articles VALUES (7, 'first'), (8, 'second');
