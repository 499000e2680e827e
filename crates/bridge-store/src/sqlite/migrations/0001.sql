-- Version 1: the tables of one directory. Every row names its shard first and ends in a CRC-32 over its other columns.
-- `live` marks what a shard holds in memory. Times are milliseconds since 1970, ids are 16 bytes, words are the core's.

-- Who owns each shard, and where its log begins and ends. `owned_until` is the owner's own promise; here the lock on the
-- directory excludes other processes, and the epoch alone fences.
CREATE TABLE shard (
    shard INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    node BLOB,
    owned_until INTEGER,
    floor INTEGER NOT NULL,
    head INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE identity (
    shard INTEGER PRIMARY KEY,
    live INTEGER NOT NULL,
    log TEXT NOT NULL,
    token_key BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    live INTEGER NOT NULL,
    title TEXT,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,
    questions INTEGER NOT NULL,
    closed_at INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_live ON session (shard, id) WHERE live = 1;
CREATE INDEX session_by_start ON session (shard, created_at, id);

CREATE TABLE mailbox (
    shard INTEGER NOT NULL,
    address TEXT NOT NULL,
    live INTEGER NOT NULL,
    read_to INTEGER NOT NULL,
    presence TEXT NOT NULL,
    presence_consumer TEXT,
    presence_since INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, address)
) STRICT, WITHOUT ROWID;

-- `lease_*` is the newest lease, kept after its end; `lease_end` is 'lapsed' or the word for what its holder did.
CREATE TABLE delivery (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    live INTEGER NOT NULL,
    message BLOB NOT NULL,
    mailbox TEXT NOT NULL,
    key TEXT NOT NULL,
    priority INTEGER NOT NULL,
    place INTEGER,
    size INTEGER NOT NULL,
    bounce INTEGER NOT NULL,
    expires_at INTEGER,
    state TEXT NOT NULL,
    visible_at INTEGER,
    dead_reason TEXT,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lease_epoch INTEGER,
    lease_number INTEGER,
    lease_principal TEXT,
    lease_consumer TEXT,
    lease_named INTEGER,
    lease_batch_epoch INTEGER,
    lease_batch_number INTEGER,
    lease_attempt_id TEXT,
    lease_started INTEGER,
    lease_until INTEGER,
    lease_end TEXT,
    lease_reply BLOB,
    lease_fingerprint BLOB,
    accepted INTEGER NOT NULL,
    presented INTEGER,
    seen INTEGER,
    progressed INTEGER,
    answered INTEGER,
    settled INTEGER,
    read INTEGER,
    dead INTEGER,
    cancel_requested INTEGER NOT NULL,
    reply BLOB,
    progress TEXT,
    last_error TEXT,
    redrive_of BLOB,
    redriven_as BLOB,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_live ON delivery (shard, id) WHERE live = 1;

-- Payloads can be long, so this table has a rowid: its key then stays small.
CREATE TABLE message (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    live INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    sender TEXT NOT NULL,
    verified INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    session BLOB,
    key TEXT NOT NULL,
    reply_to BLOB,
    correlation_id TEXT,
    created_at INTEGER NOT NULL,
    deliver_at INTEGER,
    expires_at INTEGER,
    headers TEXT NOT NULL,
    payload BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT;
CREATE INDEX message_live ON message (shard, id) WHERE live = 1;
CREATE INDEX message_by_session ON message (shard, session, seq) WHERE session IS NOT NULL;

CREATE TABLE idempotency (
    shard INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    key TEXT NOT NULL,
    live INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    message BLOB NOT NULL,
    seq INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, sender, recipient, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_live ON idempotency (shard, sender, recipient, key) WHERE live = 1;
CREATE INDEX idempotency_by_end ON idempotency (shard, expires_at);

CREATE TABLE reader (
    shard INTEGER NOT NULL,
    session BLOB NOT NULL,
    name TEXT NOT NULL,
    live INTEGER NOT NULL,
    place INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, session, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX reader_live ON reader (shard, session, name) WHERE live = 1;

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
    cancelled INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;

-- The log. Behind `delivery` each kind of event fills the columns it needs.
CREATE TABLE event (
    shard INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    session BLOB,
    message BLOB,
    delivery BLOB,
    deliveries INTEGER,
    lease_epoch INTEGER,
    lease_number INTEGER,
    attempt INTEGER,
    consumer TEXT,
    until INTEGER,
    progress TEXT,
    reply BLOB,
    return_reason TEXT,
    failures INTEGER,
    visible_at INTEGER,
    error TEXT,
    dead_reason TEXT,
    successor BLOB,
    title TEXT,
    unsettled INTEGER,
    presence TEXT,
    presence_since INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_by_session ON event (shard, session, seq) WHERE session IS NOT NULL;
CREATE INDEX event_by_delivery ON event (shard, delivery, seq) WHERE delivery IS NOT NULL;

-- What clients of the older protocol agreed on. `data` is as that protocol's library wrote it.
CREATE TABLE handshake (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    saved_at INTEGER NOT NULL,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
