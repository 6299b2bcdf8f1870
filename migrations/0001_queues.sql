-- One row a queue. The messages of queue `id` are in a table of their own, `queue_<id>`, made when the queue is first opened.
CREATE TABLE queues (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    epoch      INTEGER NOT NULL,            -- the queue's generation: random, drawn when the queue was made
    fresh      INTEGER NOT NULL DEFAULT 1,  -- 1 until the uplink has once connected with a clean session
    next_n     INTEGER NOT NULL DEFAULT 1,  -- the next row's number; never lowered, also when the table is empty
    done       INTEGER NOT NULL DEFAULT 0,  -- every row up to here is acknowledged and deleted
    recorded   INTEGER NOT NULL DEFAULT 0,  -- QoS 2: every row up to here has its PUBREC
    depth      INTEGER NOT NULL DEFAULT 0,  -- rows waiting: a counter, because count(*) reads the whole table
    bytes      INTEGER NOT NULL DEFAULT 0,  -- their size as accounted against max_size
    dropped    INTEGER NOT NULL DEFAULT 0,  -- messages given up by policy
    set_aside  INTEGER NOT NULL DEFAULT 0,  -- messages moved to `aside`
    gap_rows   INTEGER NOT NULL DEFAULT 0,  -- dropped and not yet told upstream: how many, since when, until when, why
    gap_from   INTEGER NOT NULL DEFAULT 0,
    gap_to     INTEGER NOT NULL DEFAULT 0,
    gap_reason INTEGER NOT NULL DEFAULT 0
);

-- Messages that can't be delivered, kept for a look: the newest thousand of each queue.
CREATE TABLE aside (
    id         INTEGER PRIMARY KEY,
    queue      INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    topic      TEXT    NOT NULL,
    payload    BLOB    NOT NULL,
    qos        INTEGER NOT NULL,
    retain     INTEGER NOT NULL,
    ts         INTEGER NOT NULL,
    crc32      INTEGER NOT NULL,
    properties BLOB,
    reason     TEXT    NOT NULL
);
