CREATE TABLE templates (id integer PRIMARY KEY, text text NOT NULL);
INSERT INTO templates VALUES (1, 'Dear customer'), (2, 'Dear friend');
