PRAGMA journal_mode = WAL;
CREATE TABLE products (id integer PRIMARY KEY, name text NOT NULL, cents integer NOT NULL);
INSERT INTO products VALUES (1, 'lamp', 1250), (2, 'desk', 40000), (3, 'chair', 8900);
