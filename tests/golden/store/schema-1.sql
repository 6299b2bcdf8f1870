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
COMMIT;
