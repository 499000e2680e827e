-- Version 4: what has ended is removed in its time. `retire_at` is when a delivery is looked at again; where it is empty, its
-- row's checksum is as it was without that column. `floor` in `shard`: up to there only events of sessions are left.
ALTER TABLE message ADD COLUMN retire_at INTEGER;
ALTER TABLE delivery ADD COLUMN retire_at INTEGER;
CREATE INDEX message_retiring ON message (retire_at) WHERE retire_at IS NOT NULL;
CREATE INDEX delivery_retiring ON delivery (shard, retire_at, seq) WHERE retire_at IS NOT NULL;
CREATE INDEX session_closed ON session (shard, closed_at, id) WHERE closed_at IS NOT NULL;
