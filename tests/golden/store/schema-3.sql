BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'queues','2026-11-21 04:31:44',1,X'9C9273F7AAA822EF3603813FE9DE4BFBA6CCD610EC7CADD2C214324AC9D6C25789D1BC2D749FBC0E473FA6556AA71644',1663240);
INSERT INTO "_sqlx_migrations" VALUES(2,'broker','2026-11-21 04:31:44',1,X'6EA5AFA845E18508F4B37EAD42DC6E2002F4544E8426A52D1AE12EB01FAD0DD972EF54228F7C51A6B27E791E1A5C11E8',59147288);
INSERT INTO "_sqlx_migrations" VALUES(3,'uplinks','2026-11-21 04:31:44',1,X'8CC24AF298FEF188A5F93F7F0A04B8F8BF84F293E6C7C67C1D03E442DF609BFEE32BC4E9982E302991DC7513AECE27C8',3244429);
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
CREATE TABLE broker (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    last_session INTEGER NOT NULL           -- the highest session id ever kept; never lowered
);
INSERT INTO "broker" VALUES(1,1);
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
INSERT INTO "deliveries" VALUES(1,1,1,'n/x',X'31',9,1795235505477,NULL,NULL,3579993545);
INSERT INTO "deliveries" VALUES(2,1,2,'n/x',X'32',9,1795235505529,NULL,NULL,2855085088);
INSERT INTO "deliveries" VALUES(3,1,3,'n/x',X'33',9,1795235505531,NULL,NULL,3003650344);
CREATE TABLE queue_1 (n INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL, ts INTEGER NOT NULL, crc32 INTEGER NOT NULL, properties BLOB);
INSERT INTO "queue_1" VALUES(1,'cloud/x',X'31',1,0,1795235505526,1803355303,NULL);
INSERT INTO "queue_1" VALUES(2,'cloud/x',X'32',1,0,1795235505530,2117706564,NULL);
INSERT INTO "queue_1" VALUES(3,'cloud/x',X'33',1,0,1795235505532,1104339221,NULL);
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
INSERT INTO "queues" VALUES(1,'cloud',369335457,1,4,0,0,3,216,0,0,0,0,0,0);
CREATE TABLE received (
    session   INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) WITHOUT ROWID;
CREATE TABLE recorded (
    session INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (session, n)
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
INSERT INTO "retained" VALUES(1,'kept/a',X'72657461696E6564',1,1795235505533,NULL,3229131272);
CREATE TABLE session_marks (
    session INTEGER PRIMARY KEY,
    next_n  INTEGER NOT NULL,               -- the next delivery's number; never lowered
    depth   INTEGER NOT NULL,               -- rows in `deliveries`: a counter, because count(*) reads them all
    bytes   INTEGER NOT NULL                -- their size as accounted
);
INSERT INTO "session_marks" VALUES(1,4,3,204);
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
INSERT INTO "sessions" VALUES(1,'reader',NULL,604800,0,9223372036854775807,NULL,1712940023);
CREATE TABLE subscriptions (
    session INTEGER NOT NULL,
    filter  TEXT    NOT NULL,
    options INTEGER NOT NULL,
    id      INTEGER,                        -- the Subscription Identifier
    crc32   INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
) WITHOUT ROWID;
INSERT INTO "subscriptions" VALUES(1,'n/#',1,NULL,1547637387);
CREATE TABLE uplink_received (
    queue     INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (queue, packet_id)
) WITHOUT ROWID;
CREATE TABLE uplink_subscribed (
    queue  INTEGER NOT NULL,
    filter TEXT    NOT NULL,
    PRIMARY KEY (queue, filter)
) WITHOUT ROWID;
CREATE UNIQUE INDEX deliveries_of_session ON deliveries (session, n);
COMMIT;
