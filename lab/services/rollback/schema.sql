CREATE TABLE site (id integer PRIMARY KEY, name text NOT NULL, contact text NOT NULL);
INSERT INTO site VALUES (1, 'The shop', 'shop@lab');
