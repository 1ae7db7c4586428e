PRAGMA journal_mode = WAL;
CREATE TABLE settings (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO settings VALUES ('banner', 'hello'), ('limit', '10');
