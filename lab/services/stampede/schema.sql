CREATE TABLE sales (id integer PRIMARY KEY, cents integer NOT NULL);
INSERT INTO sales SELECT n, n * 7 FROM generate_series(1, 1000) AS n;
