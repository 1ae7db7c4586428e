PRAGMA journal_mode = WAL;
CREATE TABLE products (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO products VALUES (1, 'lamp'), (2, 'desk');
