CREATE TABLE products (id integer PRIMARY KEY, name text NOT NULL, price integer NOT NULL);
INSERT INTO products VALUES (1, 'lamp', 100), (2, 'desk', 400), (3, 'chair', 90);
