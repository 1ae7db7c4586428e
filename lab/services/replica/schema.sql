CREATE TABLE articles (id integer PRIMARY KEY, title text NOT NULL, body text NOT NULL);
INSERT INTO articles VALUES (1, 'first', 'Once upon a time'), (2, 'second', 'Twice upon a time');
