CREATE TABLE pages (id integer PRIMARY KEY, title text NOT NULL, body text NOT NULL);
ALTER TABLE pages REPLICA IDENTITY FULL;
INSERT INTO pages VALUES (1, 'Welcome', 'Come in'), (2, 'Hours', 'From nine to five');
