-- What comes down from the clouds. `queue` is the id in `queues` of the uplink that it comes through.

-- QoS 2 in: taken, and not released yet.
CREATE TABLE uplink_received (
    queue     INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (queue, packet_id)
) WITHOUT ROWID;

-- What the session at the cloud is subscribed to, so that a filter can be taken back that left the configuration.
CREATE TABLE uplink_subscribed (
    queue  INTEGER NOT NULL,
    filter TEXT    NOT NULL,
    PRIMARY KEY (queue, filter)
) WITHOUT ROWID;
