-- Pieces of batches that are still open. When a batch closes, one transaction makes them one row of its queue and deletes them; a batch that
-- a crash has left open is closed at the next start.
CREATE TABLE pieces (
    id      INTEGER PRIMARY KEY,            -- rising in the order in which they came
    queue   INTEGER NOT NULL,               -- the id in `queues` of the queue that the batch is for
    batch   INTEGER NOT NULL,
    bundle  INTEGER NOT NULL,               -- how the pieces are put together
    topic   TEXT    NOT NULL,
    payload BLOB    NOT NULL,
    qos     INTEGER NOT NULL,
    retain  INTEGER NOT NULL,
    crc32   INTEGER NOT NULL
);
CREATE INDEX pieces_of_batch ON pieces (queue, batch);
