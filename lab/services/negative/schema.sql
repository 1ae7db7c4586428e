CREATE TABLE users (name text PRIMARY KEY, email text NOT NULL);
INSERT INTO users VALUES ('ann', 'ann at lab');
