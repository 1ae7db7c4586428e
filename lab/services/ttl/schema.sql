CREATE TABLE courses (id integer PRIMARY KEY, title text NOT NULL, seats integer NOT NULL);
INSERT INTO courses VALUES (1, 'Knitting', 3), (2, 'Sewing', 5);
