PRAGMA journal_mode = WAL;
CREATE TABLE permissions (role text PRIMARY KEY, allowed text NOT NULL);
INSERT INTO permissions VALUES ('editor', 'read write'), ('guest', 'read');
CREATE TABLE changes (number integer PRIMARY KEY, role text NOT NULL);
INSERT INTO changes (role) VALUES ('guest');
