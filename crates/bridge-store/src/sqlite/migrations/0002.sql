-- A task says in a word what became of it. Those that are there are forgotten: a task lasts about an hour, and who asks for one
-- that is gone is told to begin anew.
DROP TABLE task;
CREATE TABLE task (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    live INTEGER NOT NULL,
    mailbox TEXT NOT NULL,
    principal TEXT NOT NULL,
    consumer TEXT NOT NULL,
    named INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;
