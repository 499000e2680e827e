-- Version 3: a message, its first delivery and the event that it was accepted lie in one row, at the message's place in the
-- log. A part of it that is not there, or no longer, has empty columns. Behind this file the rows are moved by the program,
-- for it makes their checksums.
DROP INDEX message_live;
DROP INDEX message_by_session;
DROP INDEX delivery_live;
ALTER TABLE message RENAME TO old_message;
ALTER TABLE delivery RENAME TO old_delivery;

-- Which range of places is the shard's own: the first shard of a directory has 0, the next one 1.
ALTER TABLE shard ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;

-- `seq` is the place in the shard's log plus 2^48 times the shard's slot. The columns up to `crc` never change while the row is
-- as it is; those from `live` to `state_crc` are the first delivery's and change with it, `live` being 1 while a shard holds
-- it in memory. `logged` is 1 for the event, `verified` is there for the message, `state` for the delivery. `key` is
-- NULL where it is the recipient's session, and empty where there is none; `detail` tells as JSON what few deliveries have to
-- tell.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    logged INTEGER NOT NULL,
    sender TEXT,
    verified INTEGER,
    recipient TEXT NOT NULL,
    type TEXT,
    priority INTEGER NOT NULL,
    session BLOB,
    key TEXT,
    reply_to BLOB,
    correlation_id TEXT,
    created_at INTEGER NOT NULL,
    deliver_at INTEGER,
    expires_at INTEGER,
    headers TEXT,
    size INTEGER NOT NULL,
    deliveries INTEGER,
    crc INTEGER NOT NULL,
    live INTEGER,
    state TEXT,
    visible_at INTEGER,
    attempt INTEGER,
    failures INTEGER,
    detail TEXT,
    state_crc INTEGER,
    payload_crc INTEGER,
    payload BLOB
) STRICT;
CREATE UNIQUE INDEX message_by_id ON message (id, shard);
CREATE INDEX message_live ON message (seq) WHERE live = 1;
CREATE INDEX message_by_session ON message (session) WHERE session IS NOT NULL;

-- Payloads that are so long that a row with them could not be changed cheaply.
CREATE TABLE payload (
    seq INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Deliveries that lie in no message's row: to further mailboxes, and made by a redrive.
CREATE TABLE delivery (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    message BLOB NOT NULL,
    mailbox TEXT NOT NULL,
    sender TEXT NOT NULL,
    type TEXT NOT NULL,
    key TEXT,
    priority INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    expires_at INTEGER,
    accepted INTEGER NOT NULL,
    redrive_of BLOB,
    live INTEGER NOT NULL,
    state TEXT NOT NULL,
    visible_at INTEGER,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    detail TEXT,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_live ON delivery (shard, id) WHERE live = 1;
CREATE INDEX delivery_first ON delivery (shard, id) WHERE id = message;

-- What was given up is looked for across the whole log; everything else in a part of it.
CREATE INDEX message_dead ON message (seq) WHERE state = 'dead';
CREATE INDEX delivery_by_seq ON delivery (shard, seq);

-- Mailboxes of their own: how they behave, who has paused them, up to which place they were purged. Empty settings are as the
-- class has them.
ALTER TABLE mailbox RENAME TO old_mailbox;
CREATE TABLE mailbox (
    shard INTEGER NOT NULL,
    address TEXT NOT NULL,
    live INTEGER NOT NULL,
    class TEXT NOT NULL,
    unordered INTEGER NOT NULL,
    skips INTEGER NOT NULL,
    max_pending INTEGER,
    max_pending_bytes INTEGER,
    lease_ms INTEGER,
    max_failures INTEGER,
    made_by_use INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    paused_by TEXT,
    paused_since INTEGER,
    floor INTEGER NOT NULL,
    read_to INTEGER NOT NULL,
    presence TEXT NOT NULL,
    presence_consumer TEXT,
    presence_since INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, address)
) STRICT, WITHOUT ROWID;

-- Events of a mailbox name it, unless their session does.
ALTER TABLE event ADD COLUMN mailbox TEXT;
ALTER TABLE event ADD COLUMN floor INTEGER;
