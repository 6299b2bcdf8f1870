//! The whole server path without sockets, for the fuzz target and the property tests: bytes → codec → machine → hub → machine → bytes,
//! with a store that is a few maps.
//!
//! What it checks by itself: nothing panics, every call ends, a client can read whatever it is sent, nobody leaves anything behind, and what is
//! written makes sense to a store.

#[cfg(test)]
mod conversation;
pub(super) mod disk;

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;

use super::Limits;
use super::access::Rights;
use super::hub::Hub;
use super::machine::Machine;
use super::words::{Key, ToClient};
use crate::model::{Message, Monotonic, Timestamp};
use crate::mqtt::{Codec, Packet, Version};
use crate::store::QueueId;

use disk::Disk;

const CLIENTS: usize = 3;
/// Sessions are kept for a minute.
const EXPIRY_S: u32 = 60;

/// Limits that a few hundred bytes reach.
fn limits() -> Limits {
    Limits {
        packet_size: 4_096,
        in_flight_out: 3,
        in_flight_in: 3,
        queue_messages: 4,
        session_messages: 12,
        sessions: 4,
        subscriptions: 3,
        topic_levels: 6,
        retained_messages: 5,
        ..Limits::default()
    }
}

/// Plays `script`: a byte says who does what, the next how much of the rest goes with it.
///
/// # Panics
/// When something is not as it should be.
pub fn exercise(script: &[u8]) {
    let mut world = World::new(limits(), CLIENTS);
    let mut rest = script;
    while let [what, length, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let client = usize::from(*length) % CLIENTS;
        match what % 16 {
            15 => world.now = world.now + Duration::from_millis(u64::from(*length) * 100),
            14 if *length % 7 == 1 => world.restart(),
            14 => world.report(*length % 5 == 0),
            13 => world.reconnect(client, Version::V5, *length >= 128),
            12 => world.reconnect(client, Version::V311, *length >= 128),
            11 => world.broke(client),
            who => world.receive(usize::from(who) % CLIENTS, piece),
        }
        world.settle();
    }
    (0..CLIENTS).for_each(|client| world.broke(client));
    world.report(false);
    world.settle();
    let (clients, _, retained) = world.hub.counts();
    assert!(clients == 0 && retained <= limits().retained_messages);
    // Sessions that are kept end by and by.
    world.now = world.now + Duration::from_secs(2 * u64::from(EXPIRY_S));
    world.settle();
    world.report(false);
    assert_eq!(world.hub.counts().1, 0, "somebody has left something behind");
    assert_eq!(world.disk.counts().0, 0, "a session is left on disk");
}

/// A broker and its clients.
pub(super) struct World {
    limits: Limits,
    pub hub: Hub,
    pub disk: Disk,
    pub now: Monotonic,
    pub clients: Vec<Client>,
    seats: HashMap<Key, usize>,
}

/// The broker's end of a connection, and what it sends.
pub(super) struct Client {
    pub machine: Machine,
    pub input: BytesMut,
    key: Option<Key>,
    reader: Option<Codec>,
    sent: BytesMut,
    /// What came, while somebody wants it.
    pub packets: Option<Vec<Packet>>,
}

impl Client {
    fn new(limits: Limits, now: Monotonic) -> Client {
        let machine = Machine::new(limits, None, 7, now);
        Client { machine, input: BytesMut::new(), key: None, reader: None, sent: BytesMut::new(), packets: None }
    }

    /// Reads what was sent as the client would.
    fn read(&mut self) {
        self.sent.unsplit(self.machine.out.split());
        if self.reader.is_none() && self.key.is_some() {
            self.reader = Some(Codec::client(self.machine.version(), 1 << 20));
        }
        let Some(reader) = &mut self.reader else { return };
        while let Some(packet) = reader.decode(&mut self.sent).expect("what the broker sends can be read") {
            if let Packet::Publish(publish) = &packet {
                assert!(publish.topic.is_some() || publish.topic_alias.is_some());
            }
            if let Some(packets) = &mut self.packets {
                packets.push(packet);
            }
        }
        assert!(self.sent.is_empty(), "the broker sent half a packet");
    }
}

impl World {
    pub fn new(limits: Limits, clients: usize) -> World {
        let mut world = World {
            limits,
            hub: World::hub(limits),
            disk: Disk::default(),
            now: Monotonic::default(),
            clients: (0..clients).map(|_| Client::new(limits, Monotonic::default())).collect(),
            seats: HashMap::new(),
        };
        world.hub.restore(world.disk.crash(), EXPIRY_S, world.now);
        world
    }

    fn hub(limits: Limits) -> Hub {
        let select = |message: &Message| message.topic.starts_with("up").then(|| message.clone());
        Hub::new(limits, vec![(QueueId::normal(0), Box::new(select))])
    }

    fn set_wall(&mut self) {
        let since = i64::try_from(self.now.0.as_millis()).unwrap_or(i64::MAX);
        self.hub.set_wall(Some(Timestamp(1_800_000_000_000 + since)));
    }

    /// The process is killed and starts again.
    pub fn restart(&mut self) {
        self.hub = World::hub(self.limits);
        self.set_wall();
        self.hub.restore(self.disk.crash(), EXPIRY_S, self.now);
        self.seats.clear();
        for client in &mut self.clients {
            *client = Client::new(self.limits, self.now);
        }
    }

    pub fn receive(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].input.extend_from_slice(bytes);
    }

    fn reconnect(&mut self, client: usize, version: Version, kept: bool) {
        self.broke(client);
        self.settle();
        let level = if version == Version::V5 { 5 } else { 4 };
        // Keep-alive 60 s, will "x" on topic "w", identifier "c".
        let flags = if kept { 0x0C } else { 0x0E };
        let mut connect = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        let no_properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let properties: &[u8] = match (version, kept) {
            (Version::V5, true) => &[5, 0x11, 0, 0, 0, 30],
            _ => no_properties,
        };
        connect.extend_from_slice(properties);
        connect.extend_from_slice(b"\0\x01c");
        connect.extend_from_slice(no_properties);
        connect.extend_from_slice(b"\0\x01w\0\x01x");
        connect[1] = connect.len() as u8 - 2;
        self.receive(client, &connect);
    }

    pub fn broke(&mut self, client: usize) {
        self.clients[client].machine.broke();
    }

    /// The store commits, or refuses.
    pub fn report(&mut self, refuse: bool) {
        self.disk.commit(&mut self.hub, refuse, self.now);
    }

    /// Until nobody has anything more to say.
    pub fn settle(&mut self) {
        let mut busy = true;
        let mut rounds = 0;
        while busy {
            rounds += 1;
            assert!(rounds < 10_000, "the broker talks to itself");
            self.set_wall();
            busy = false;
            for client in 0..self.clients.len() {
                busy |= self.step(client);
            }
            self.hub.expire(self.now);
            busy |= self.hub.is_feeding();
            self.hub.feed(self.now);
            busy |= self.disk.read(&mut self.hub, self.now);
            busy |= self.deliver();
        }
    }

    fn step(&mut self, index: usize) -> bool {
        let now = self.now;
        let client = &mut self.clients[index];
        client.machine.tick(now);
        let before = client.input.len();
        if let Some(greeting) = client.machine.receive(&mut client.input, now) {
            let old = self.hub.connection_of(&greeting.client_id);
            if let Some((key, index)) = old.and_then(|key| Some((key, *self.seats.get(&key)?))) {
                self.hub.note_sent(key, self.clients[index].machine.sent);
            }
            self.clients[index].machine.grant(Rights::everything(), None).expect("everything is allowed");
            let key = self.hub.connect(greeting, now);
            self.seats.insert(key, index);
            self.clients[index].key = Some(key);
        }
        let client = &mut self.clients[index];
        client.machine.pump(now);
        let mut busy = client.input.len() != before;
        for word in std::mem::take(&mut client.machine.to_hub) {
            busy = true;
            if let Some(key) = client.key {
                self.hub.client_says(key, word, now);
            }
        }
        client.read();
        let closing = client.machine.closing().map(|closing| closing.lost);
        if let Some(lost) = closing {
            let packets = client.packets.take();
            let old = std::mem::replace(client, Client { packets, ..Client::new(self.limits, now) });
            if let Some(key) = old.key {
                self.hub.note_sent(key, old.machine.sent);
                self.hub.disconnect(key, lost, old.machine.expiry_at_end, now);
                busy = true;
            }
        }
        busy
    }

    fn deliver(&mut self) -> bool {
        let mut busy = false;
        for (key, outcome) in std::mem::take(&mut self.hub.out.admitted) {
            busy = true;
            let client = self.clients.iter_mut().find(|client| client.key == Some(key));
            match (client, outcome) {
                (Some(client), Ok(admission)) => client.machine.admitted(&admission),
                (Some(client), Err(reason)) => client.machine.refused(reason),
                (None, _) => self.hub.disconnect(key, true, None, self.now),
            }
        }
        for (key, last_words) in std::mem::take(&mut self.hub.out.parting) {
            busy = true;
            if let Some(index) = self.seats.remove(&key)
                && self.clients[index].key == Some(key)
            {
                last_words.into_iter().for_each(|word| self.clients[index].machine.hub_says(word));
            }
        }
        let touched = std::mem::take(&mut self.hub.out.touched);
        busy |= !touched.is_empty();
        for key in touched {
            let mut list: Vec<ToClient> = Vec::new();
            self.hub.take_list(key, &mut list);
            let seat = self.seats.get(&key).copied().filter(|seat| self.clients[*seat].key == Some(key));
            let Some(seat) = seat else { continue };
            for word in list {
                self.clients[seat].machine.hub_says(word);
            }
        }
        for key in std::mem::take(&mut self.hub.out.removed) {
            self.seats.remove(&key);
        }
        self.disk.take(&mut self.hub);
        self.hub.out.live.clear();
        self.hub.out.overflowing.clear();
        busy
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packets and halves of packets that lead somewhere, for clients of both versions.
    const WORDS: &[&[u8]] = &[
        b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x01\x00\x01a", // CONNECT 3.1.1 as "a", keep-alive 1 s
        b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01b", // CONNECT 5 as "b"
        b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x0A\x00\x01b", // CONNECT 5 that takes packets of 10 bytes
        b"\x82\x06\x00\x01\x00\x01#\x01",                                         // SUBSCRIBE 3.1.1 to # at QoS 1
        b"\x82\x07\x00\x01\x00\x00\x01#\x01",                                     // the same in MQTT 5
        b"\x82\x09\x00\x02\x02\x0B\x05\x00\x01+\x0C", // SUBSCRIBE 5 to +, id 5, no-local, retain as published
        b"\xA2\x06\x00\x03\x00\x00\x01#",             // UNSUBSCRIBE 5
        b"\x31\x05\x00\x01rxx",                       // PUBLISH 3.1.1, retained
        b"\x30\x05\x00\x01r\x00x",                    // PUBLISH 5
        b"\x32\x06\x00\x02up\x00\x01",                // PUBLISH 3.1.1 at QoS 1 to a durable topic
        b"\x33\x08\x00\x02up\x00\x02\x00x",           // PUBLISH 5 at QoS 1, retained, to a durable topic
        b"\x30\x07\x00\x01t\x03\x23\x00\x01",         // PUBLISH 5 that names alias 1
        b"\x30\x06\x00\x00\x03\x23\x00\x01",          // PUBLISH 5 by alias 1
        b"\x40\x02\x00\x01",                          // PUBACK 1
        b"\x40\x02\x00\x02",                          // PUBACK 2
        b"\xC0\x00",                                  // PINGREQ
        b"\xE0\x00",                                  // DISCONNECT
        b"\x34\x07\0\x01a\0\x0Axy",                   // PUBLISH "a" at QoS 2, id 10
        b"\x3C\x08\0\x01a\0\x0A\0xy",                 // the same again, for MQTT 5
        b"\x62\x02\0\x0A",                            // PUBREL 10
        b"\x50\x02\0\x01",                            // PUBREC 1
        b"\x70\x02\0\x01",                            // PUBCOMP 1
        b"\x50\x02\0\x02",                            // PUBREC 2
        b"\x70\x02\0\x02",                            // PUBCOMP 2
        b"\x10\x0D\x00\x04MQTT\x04\x00\x00\x01\x00\x01a", // CONNECT 3.1.1 as "a" with a session that is kept
        b"\xE0\x07\x00\x05\x11\0\0\0\x05",            // DISCONNECT 5 with a session expiry of 5 s
        b"\x82\x06\0\x0B\0\x01#\x02",                 // SUBSCRIBE "#" at QoS 2
        b"\xE0\x01\x04",                              // DISCONNECT 5 with will
        b"\x32",                                      // half of something
    ];

    fn script() -> impl Strategy<Value = Vec<u8>> {
        let word =
            (0u8..11, prop::sample::select(WORDS)).prop_map(|(who, word)| [&[who, word.len() as u8], word].concat());
        let event = (11u8..16, any::<u8>()).prop_map(|(what, how)| vec![what, how]);
        let noise = (0u8..11, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(who, noise)| [&[who, noise.len() as u8], &noise[..]].concat());
        prop::collection::vec(prop_oneof![8 => word, 3 => event, 1 => noise], 0..80).prop_map(|parts| parts.concat())
    }

    #[test]
    fn the_corpus_of_the_fuzz_target_passes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/mqtt_connection");
        let scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(scripts.len() > 100, "found only {}", scripts.len());
        scripts.iter().for_each(|script| exercise(&std::fs::read(script).unwrap()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn whatever_three_clients_do_the_broker_keeps_its_word(script in script()) {
            exercise(&script);
        }
    }
}
