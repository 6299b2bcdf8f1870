//! A Modbus TCP device whose value is the number of times that it was read: what is missing later was lost on the way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Holding registers 0 and 1 of unit 1 are the count of reads, high word first.
pub struct CountingDevice {
    port: u16,
    reads: Arc<AtomicU32>,
}

impl CountingDevice {
    /// Listens on a free port until the test's process ends.
    pub fn start() -> CountingDevice {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let reads = Arc::new(AtomicU32::new(0));
        let counter = reads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counter = counter.clone();
                std::thread::spawn(move || answer(stream.unwrap(), &counter));
            }
        });
        CountingDevice { port, reads }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it was read.
    pub fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, reads: &AtomicU32) {
    // MBAP header (7 bytes), function, address, count: Modbus Messaging on TCP/IP 1.0b §3.1.3.
    let mut request = [0u8; 12];
    while stream.read_exact(&mut request).is_ok() {
        assert_eq!(request[7..], [3, 0, 0, 0, 2], "two holding registers from 0");
        let count = reads.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        // transaction, protocol 0, length 7, unit | function 3, 4 bytes, the registers
        let mut response = vec![request[0], request[1], 0, 0, 0, 7, request[6], 3, 4];
        response.extend(count);
        if stream.write_all(&response).is_err() {
            return;
        }
    }
}
