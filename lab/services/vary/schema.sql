CREATE TABLE carts (id integer PRIMARY KEY, customer text NOT NULL, total integer NOT NULL);
INSERT INTO carts VALUES (1, 'ann', 12), (2, 'bob', 34);
