//! The local broker beside mosquitto, in one run on one machine: throughput at each QoS from one to one and from one to twenty, and how
//! long a message takes at a thousand a second.
//!
//! `cargo bench --bench broker -- [--only TEXT] [--rounds N] [--seconds S] [--window N]`. Both run with durability off: no uplink and no
//! persistent session here, no persistence there. Each round measures one and then the other; what is shown is the median.
//! The last table has durability on, on both sides: a session that is kept gets what sixteen publishers send.

mod brokers;
mod durable;
mod load;
mod wire;

use std::time::Duration;

use brokers::Process;
use load::{Load, Outcome};

/// What is compared: name, QoS, subscribers.
const CASES: &[(&str, u8, usize)] = &[
    ("QoS 0, one to one", 0, 1),
    ("QoS 1, one to one", 1, 1),
    ("QoS 2, one to one", 2, 1),
    ("QoS 0, one to twenty", 0, 20),
    ("QoS 1, one to twenty", 1, 20),
    ("QoS 2, one to twenty", 2, 20),
];

struct Options {
    only: String,
    rounds: usize,
    seconds: f64,
    window: usize,
}

fn main() {
    let options = options();
    println!("| 100-byte payloads | Fieldway/s | busy | mosquitto/s | busy | ratio | each round |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, qos, subscribers) in CASES.iter().filter(|(name, ..)| name.contains(&options.only)) {
        let duration = Duration::from_secs_f64(options.seconds);
        let load = Load { qos: *qos, subscribers: *subscribers, window: options.window, duration, per_second: None };
        throughput(name, &load, options.rounds);
    }
    if "durable".contains(&options.only) {
        durable(&options);
    }
    if "latency".contains(&options.only) {
        println!("\n| 1,000 messages a second, one to one | p50 µs | p99 µs | most µs |\n| --- | --- | --- | --- |");
        for qos in [0, 1, 2] {
            let duration = Duration::from_secs_f64(options.seconds.max(5.0));
            let load = Load { qos, subscribers: 1, window: 1_000, duration, per_second: Some(1_000) };
            for broker in [Process::fieldway as fn() -> Process, Process::mosquitto] {
                latency(&load, &broker());
            }
        }
    }
}

/// Acknowledged and safe, at several windows of each publisher.
fn durable(options: &Options) {
    println!(
        "\n| 16 publishers, QoS 1, a kept session gets all | Fieldway/s | mosquitto/s, saving each change | ratio |"
    );
    println!("| --- | --- | --- | --- |");
    for window in [1, 20, 100] {
        let measure = |broker: fn() -> Process| {
            let duration = Duration::from_secs_f64(options.seconds);
            let rounds: Vec<_> = (0..options.rounds).map(|_| durable::run(&broker(), window, duration)).collect();
            assert!(rounds.iter().all(|round| round.delivered > 0.0), "the kept session got nothing");
            median(rounds.iter().map(|round| round.acknowledged).collect())
        };
        let (ours, theirs) = (measure(Process::fieldway), measure(Process::saving_mosquitto));
        println!("| {window} of each without an answer | {ours:.0} | {theirs:.0} | {:.1} |", ours / theirs);
    }
}

fn throughput(name: &str, load: &Load, rounds: usize) {
    let rounds: Vec<(Outcome, Outcome)> =
        (0..rounds).map(|_| (load.run(&Process::fieldway()), load.run(&Process::mosquitto()))).collect();
    let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours.rate / theirs.rate).collect();
    let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let middle = |pick: fn(&(Outcome, Outcome)) -> f64| median(rounds.iter().map(pick).collect());
    println!(
        "| {name} | {:.0} | {:.0} % | {:.0} | {:.0} % | {:.2} | {} |",
        middle(|round| round.0.rate),
        middle(|round| 100.0 * round.0.busy),
        middle(|round| round.1.rate),
        middle(|round| 100.0 * round.1.busy),
        median(ratios),
        each.join(" ")
    );
}

fn latency(load: &Load, broker: &Process) {
    let mut times = load.run(broker).latencies_us;
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).or(times.last()).copied().unwrap_or(0);
    println!("| {}, QoS {} | {} | {} | {} |", broker.name, load.qos, at(0.5), at(0.99), at(1.0));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn options() -> Options {
    let mut options = Options { only: String::new(), rounds: 5, seconds: 2.0, window: 1_000 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--only" => options.only = value(),
            "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
            "--seconds" => options.seconds = value().parse().expect("a number of seconds"),
            "--window" => options.window = value().parse().expect("a number of messages"),
            // What `cargo bench` adds by itself.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    options
}
