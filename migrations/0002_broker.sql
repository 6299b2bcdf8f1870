-- What the broker has to have again after a restart. A session's id is drawn by the broker and never used again.
CREATE TABLE broker (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    last_session INTEGER NOT NULL           -- the highest session id ever kept; never lowered
);
INSERT INTO broker VALUES (1, 0);

CREATE TABLE sessions (
    id        INTEGER PRIMARY KEY,
    client_id TEXT    NOT NULL,
    user      TEXT,
    expiry_s  INTEGER NOT NULL,             -- 4294967295 never ends
    left_at   INTEGER NOT NULL,             -- milliseconds since 1970; 0 while connected or when the clock had not been set
    sent      INTEGER NOT NULL,             -- the highest number that was sent when it left
    will      BLOB,
    crc32     INTEGER NOT NULL
);

-- A session's counters, apart from its row: these are written with every commit that touches it, and many share a page.
CREATE TABLE session_marks (
    session INTEGER PRIMARY KEY,
    next_n  INTEGER NOT NULL,               -- the next delivery's number; never lowered
    depth   INTEGER NOT NULL,               -- rows in `deliveries`: a counter, because count(*) reads them all
    bytes   INTEGER NOT NULL                -- their size as accounted
);

CREATE TABLE subscriptions (
    session INTEGER NOT NULL,
    filter  TEXT    NOT NULL,
    options INTEGER NOT NULL,
    id      INTEGER,                        -- the Subscription Identifier
    crc32   INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
) WITHOUT ROWID;

-- What waits for sessions, in the order in which it came. The index is the one way to a session's rows: with many sessions, its small
-- entries cost less than a table or a key that spreads the rows themselves.
CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY,
    session    INTEGER NOT NULL,
    n          INTEGER NOT NULL,            -- the session's own number, rising, never used again
    topic      TEXT    NOT NULL,
    payload    BLOB    NOT NULL,
    flags      INTEGER NOT NULL,
    ts         INTEGER NOT NULL,
    ids        BLOB,                        -- subscription identifiers, four bytes each
    properties BLOB,
    crc32      INTEGER NOT NULL
);
CREATE UNIQUE INDEX deliveries_of_session ON deliveries (session, n);

-- QoS 2 out: PUBREC has come, the message is gone, PUBCOMP is waited for.
CREATE TABLE recorded (
    session INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (session, n)
) WITHOUT ROWID;

-- QoS 2 in: taken, and not released yet.
CREATE TABLE received (
    session   INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) WITHOUT ROWID;

CREATE TABLE retained (
    id         INTEGER PRIMARY KEY,
    topic      TEXT    NOT NULL,
    payload    BLOB    NOT NULL,
    qos        INTEGER NOT NULL,
    ts         INTEGER NOT NULL,
    properties BLOB,
    crc32      INTEGER NOT NULL
);
