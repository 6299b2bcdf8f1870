//! A Modbus TCP device that can be written to, keeps a log of every write that reaches it, and misbehaves when it is told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Unit 1 with all its coils and holding registers.
pub struct WritableDevice {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    coils: Vec<bool>,
    holding: Vec<u16>,
    writes: Vec<Written>,
    mood: Mood,
}

/// A write that has reached the device, done or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub function: u8,
    pub address: u16,
    /// Registers, coils as 0 and 1, or the two masks of function 22.
    pub values: Vec<u16>,
}

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Refuses writes with this exception.
    Refuses(u8),
    /// Knows functions 15 and 16, and not 5, 6 and 23.
    OnlyMultiple,
    /// Does what it is told, and the answer is lost.
    LosesAnswers,
    /// The request is lost on the way, and answers to reads are not.
    LosesWrites,
    /// The same, and from then on it answers nothing.
    Dies,
    /// Takes at most this number.
    Clamps(u16),
    /// Does it a while after it has said so.
    IsSlow(Duration),
    /// Answers nothing at all.
    Mute,
}

impl WritableDevice {
    /// Listens on a free port until the test's process ends.
    pub fn start() -> WritableDevice {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state =
            State { coils: vec![false; 65_536], holding: vec![0; 65_536], writes: Vec::new(), mood: Mood::Well };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        WritableDevice { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub fn holding(&self, address: u16) -> u16 {
        self.state().holding[usize::from(address)]
    }

    pub fn set_holding(&self, address: u16, value: u16) {
        self.state().holding[usize::from(address)] = value;
    }

    /// The writes since the last call.
    pub fn take_writes(&self) -> Vec<Written> {
        std::mem::take(&mut self.state().writes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(mut stream: TcpStream, state: &Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let mut header = [0; 7];
    while stream.read_exact(&mut header).is_ok() {
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut pdu = vec![0; len - 1];
        if stream.read_exact(&mut pdu).is_err() {
            return;
        }
        let Some(answer) = answer(&pdu, state) else { continue };
        let [high, low] = (answer.len() as u16 + 1).to_be_bytes();
        let frame = [&[header[0], header[1], 0, 0, high, low, header[6]], &answer[..]].concat();
        if stream.write_all(&frame).is_err() {
            return;
        }
    }
}

fn word(pdu: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([pdu[at], pdu[at + 1]])
}

fn answer(pdu: &[u8], shared: &Arc<Mutex<State>>) -> Option<Vec<u8>> {
    let mut state = shared.lock().unwrap();
    let (function, address) = (pdu[0], word(pdu, 1));
    let first = usize::from(address);
    if state.mood == Mood::Mute {
        return None;
    }
    if function <= 4 {
        let count = usize::from(word(pdu, 3));
        let data: Vec<u8> = if function <= 2 {
            let bits = &state.coils[first..first + count];
            bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
        } else {
            state.holding[first..first + count].iter().flat_map(|register| register.to_be_bytes()).collect()
        };
        return Some([&[function, data.len() as u8], &data[..]].concat());
    }
    let (values, echo): (Vec<u16>, &[u8]) = match function {
        5 => (vec![u16::from(word(pdu, 3) == 0xFF00)], &pdu[..5]),
        6 => (vec![word(pdu, 3)], &pdu[..5]),
        15 => ((0..usize::from(word(pdu, 3))).map(|n| u16::from(pdu[6 + n / 8] >> (n % 8) & 1)).collect(), &pdu[..5]),
        16 => ((0..usize::from(word(pdu, 3))).map(|n| word(pdu, 6 + 2 * n)).collect(), &pdu[..5]),
        22 => (vec![word(pdu, 3), word(pdu, 5)], &pdu[..7]),
        23 if state.mood != Mood::OnlyMultiple => {
            ((0..usize::from(word(pdu, 7))).map(|n| word(pdu, 10 + 2 * n)).collect(), &[])
        }
        _ => return Some(vec![function | 0x80, 1]),
    };
    state.writes.push(Written { function, address, values: values.clone() });
    let refusal = |code| Some(vec![function | 0x80, code]);
    let mut echo = echo.to_vec();
    let first = if function == 23 { usize::from(word(pdu, 5)) } else { first };
    match state.mood {
        Mood::Refuses(code) => return refusal(code),
        Mood::OnlyMultiple if matches!(function, 5 | 6) => return refusal(1),
        Mood::LosesWrites => return None,
        Mood::Dies => {
            state.mood = Mood::Mute;
            return None;
        }
        Mood::IsSlow(after) => {
            let shared = shared.clone();
            std::thread::spawn(move || {
                std::thread::sleep(after);
                apply(&mut shared.lock().unwrap(), function, first, &values);
            });
        }
        _ => apply(&mut state, function, first, &values),
    }
    if function == 23 {
        let read = state.holding[usize::from(address)..].iter().take(usize::from(word(pdu, 3)));
        let data: Vec<u8> = read.flat_map(|register| register.to_be_bytes()).collect();
        echo = [&[23, data.len() as u8], &data[..]].concat();
    }
    (state.mood != Mood::LosesAnswers).then_some(echo)
}

fn apply(state: &mut State, function: u8, first: usize, values: &[u16]) {
    let most = if let Mood::Clamps(most) = state.mood { most } else { u16::MAX };
    match function {
        5 | 15 => values.iter().zip(&mut state.coils[first..]).for_each(|(value, coil)| *coil = *value == 1),
        22 => state.holding[first] = state.holding[first] & values[0] | values[1] & !values[0],
        _ => values.iter().zip(&mut state.holding[first..]).for_each(|(value, cell)| *cell = (*value).min(most)),
    }
}
