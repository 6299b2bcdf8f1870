//! Nothing acknowledged is lost, and at QoS 2 nothing comes twice: the real gateway, a real mosquitto as the cloud, `kill -9` of either,
//! restarts, cuts in mid-packet and half-open links, at random moments.
//!
//! `FIELDWAY_SEED` repeats the moments of a run, `FIELDWAY_CRASH_MESSAGES` makes it longer: so many messages an uplink.
//!
//! What counts as a repetition is said by the cloud's end alone: a number `n` of a queue that came before. The watcher is subscribed at QoS 0, so
//! that its own link adds nothing; before the cloud goes, everything stands still until the watcher has what the cloud has.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::chance::Chance;
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::gateway::GatewayProcess;
use crate::support::mosquitto::Mosquitto;
use crate::support::peers::Peer;
use crate::support::wait::free_port;

const TOPICS: u64 = 8;
/// Slow enough that the faults fall into the traffic, also on a busy machine.
const PER_SECOND: u64 = 500;
/// How long the cloud is away, so that every window fills when it is back.
const AWAY: Duration = Duration::from_secs(3);
/// The gateway is killed within so long after that.
const DRAINING: Duration = Duration::from_secs(1);
/// Every uplink connects and commits what it learned within this.
const SETTLED: Duration = Duration::from_secs(3);
/// Longer than it takes to notice a half-open link, and a reconnect after it.
const IDLE_S: u64 = 30;

/// An uplink of the gateway under test.
struct Link {
    name: String,
    qos: u8,
    window: u16,
    session_lost: &'static str,
    proxy: CuttingProxy,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The gateway is killed and started.
    Kill,
    /// A link is cut in mid-packet.
    Cut,
    /// A link goes half-open.
    HalfOpen,
    /// The cloud is away for a while; when it is back, the gateway is killed while the backlog drains.
    Outage,
    /// It is killed, after it has saved its sessions, and started.
    KillCloud,
    /// It is killed and starts without a memory.
    Forget,
}

struct World {
    folder: tempfile::TempDir,
    yaml: String,
    port: u16,
    cloud: Mosquitto,
    links: Vec<Link>,
    gateway: Option<GatewayProcess>,
    watcher: Peer,
    messages: u64,
    marks: u64,
}

fn messages(default: u64) -> u64 {
    std::env::var("FIELDWAY_CRASH_MESSAGES").map_or(default, |text| text.parse().expect("a number"))
}

impl World {
    fn start(plans: &[(u8, u16, &'static str)], messages: u64) -> World {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Mosquitto::start();
        let link = |&(qos, window, session_lost): &(u8, u16, &'static str)| Link {
            name: format!("q{qos}w{window}{}", if session_lost == "resend" { "" } else { "a" }),
            qos,
            window,
            session_lost,
            proxy: CuttingProxy::start(cloud.port()),
        };
        let links: Vec<Link> = plans.iter().map(link).collect();
        let port = free_port();
        let yaml = configuration(folder.path(), port, &links);
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let numbers = [TOPICS, messages, IDLE_S].map(|number| number.to_string());
        let mut args = vec![cloud.port().to_string(), "cloud".into(), names.join(",")];
        args.extend(numbers);
        let mut watcher = Peer::start("exact_subscriber.py", &args);
        wait_subscribed(&mut watcher);
        let gateway = Some(GatewayProcess::start(folder.path(), &yaml, port));
        World { folder, yaml, port, cloud, links, gateway, watcher, messages, marks: 0 }
    }

    /// Lets the faults happen at random moments of the traffic, or as soon after as they can; then waits for the end of it.
    fn play(&mut self, mut faults: Vec<Fault>, chance: &mut Chance) -> Value {
        let (port, numbers) = (self.port.to_string(), [TOPICS, self.messages, PER_SECOND].map(|n| n.to_string()));
        let mut publisher = Peer::start("sequence_publisher.py", &[&[port, "numbers".into()], &numbers[..]].concat());
        chance.shuffle(&mut faults);
        let traffic = Duration::from_secs(self.messages / PER_SECOND).mul_f64(0.8);
        let mut moments: Vec<Duration> = faults.iter().map(|_| traffic.mul_f64(chance.fraction())).collect();
        moments.sort();
        let begin = Instant::now();
        for (moment, fault) in moments.into_iter().zip(faults) {
            sleep(moment.saturating_sub(begin.elapsed()));
            let which = (chance.fraction() * self.links.len() as f64) as usize;
            println!("{:6.2} s {fault:?}", begin.elapsed().as_secs_f64());
            self.happen(fault, which.min(self.links.len() - 1), chance);
        }
        let last = std::iter::repeat_with(|| publisher.line()).find(|line| line.starts_with("done"));
        assert_eq!(last, Some(format!("done {}", self.messages)), "every message was acknowledged here");
        let counted = std::iter::repeat_with(|| self.watcher.line()).find(|line| line.starts_with('{')).unwrap();
        println!("after {:.0} s: {counted}", begin.elapsed().as_secs_f64());
        serde_json::from_str(&counted).unwrap()
    }

    fn happen(&mut self, fault: Fault, which: usize, chance: &mut Chance) {
        match fault {
            Fault::Kill => self.kill(),
            Fault::Cut => self.links[which].proxy.cut_mid_packet(),
            Fault::HalfOpen => self.links[which].proxy.half_open(),
            Fault::Outage => {
                self.freeze();
                self.cloud.stop();
                self.each(CuttingProxy::refuse);
                sleep(AWAY);
                self.cloud_is_back();
                sleep(DRAINING.mul_f64(chance.fraction()));
                self.kill();
            }
            Fault::KillCloud => {
                self.freeze();
                self.cloud.save();
                self.cloud.kill();
                self.each(CuttingProxy::refuse);
                self.cloud_is_back();
            }
            Fault::Forget => {
                self.freeze();
                self.cloud.kill();
                self.each(CuttingProxy::refuse);
                self.cloud.forget();
                self.cloud_is_back();
                // Until an uplink has written down that the session is gone, a crash may cost messages at QoS 2: docs/uplinks.md says so.
                sleep(SETTLED);
            }
        }
    }

    /// From one moment to the next nothing passes any link, in either direction. Then waits until the cloud has handled what had passed, and the
    /// watcher has what the cloud had by then: it would go with the cloud, which has acknowledged it and is free to lose it.
    fn freeze(&mut self) {
        self.each(CuttingProxy::swallow);
        self.cloud.has_read_all();
        // It comes to the watcher after everything that the cloud passed on before.
        self.marks += 1;
        self.cloud.publish("cloud/mark", &self.marks.to_string());
        let mark = format!("mark {}", self.marks);
        while self.watcher.line() != mark {}
    }

    fn kill(&mut self) {
        self.gateway.take().unwrap().kill();
        self.gateway = Some(GatewayProcess::start(self.folder.path(), &self.yaml, self.port));
    }

    /// Starts the cloud; nobody else is let in before the watcher.
    fn cloud_is_back(&mut self) {
        self.cloud.start_again();
        wait_subscribed(&mut self.watcher);
        self.each(CuttingProxy::open);
    }

    fn each(&self, act: impl Fn(&CuttingProxy)) {
        self.links.iter().for_each(|link| act(&link.proxy));
    }

    fn finish(mut self) {
        let (status, log) = self.gateway.take().unwrap().stop();
        assert!(status.success(), "{status}\n{log}");
    }
}

fn wait_subscribed(watcher: &mut Peer) {
    while watcher.line() != "subscribed" {}
}

fn configuration(folder: &Path, port: u16, links: &[Link]) -> String {
    let mut yaml = format!(
        "gateway: {{ id: crash, topic_root: fw, data_dir: {data} }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         uplinks:\n",
        data = folder.join("data").display()
    );
    for Link { name, qos, window, session_lost, proxy } in links {
        yaml += &format!(
            "\x20 {name}:\n\
             \x20   url: mqtt://127.0.0.1:{cloud}\n\
             \x20   client_id: {name}\n\
             \x20   keep_alive: 1s\n\
             \x20   window: {window}\n\
             \x20   session_lost: {session_lost}\n\
             \x20   forward:\n\
             \x20     - {{ topic: 'numbers/#', to: 'cloud/{name}/{{rest}}', qos: {qos} }}\n",
            cloud = proxy.port()
        );
    }
    yaml
}

fn times(fault: Fault, count: u64) -> impl Iterator<Item = Fault> {
    (0..count).map(move |_| fault)
}

#[test]
fn while_the_cloud_keeps_its_sessions_nothing_is_lost_or_reordered_and_at_qos_2_nothing_comes_twice() {
    let mut chance = Chance::seeded_or_new();
    let plans = [1, 2].into_iter().flat_map(|qos| [1, 20, 100, 1_000].map(|window| (qos, window, "resend")));
    let plans: Vec<_> = plans.collect();
    // Four windows at each QoS: 60,000 messages at QoS 1 and 60,000 at QoS 2.
    let mut world = World::start(&plans, messages(15_000));
    let parts = (world.messages / 15_000).max(1);
    let faults = times(Fault::Kill, 8 * parts)
        .chain(times(Fault::Cut, 16 * parts))
        .chain(times(Fault::HalfOpen, 3 * parts))
        .chain(times(Fault::Outage, 3 * parts))
        .chain(times(Fault::KillCloud, 2 * parts));
    let counted = world.play(faults.collect(), &mut chance);
    println!("{} cuts, seed {}", world.links.iter().map(|link| link.proxy.cuts()).sum::<u64>(), chance.seed());
    for Link { name, qos, .. } in &world.links {
        let of = |what: &str| counted[name][what].as_u64().unwrap();
        assert_eq!((of("lost"), of("holes"), of("reordered"), of("epochs")), (0, 0, 0, 1), "{name}: {counted}");
        if *qos == 2 {
            assert_eq!(of("repeated"), 0, "{name}: {counted}");
        }
    }
    world.finish();
}

#[test]
fn a_cloud_that_forgets_costs_no_message_unless_the_configuration_says_that_it_may() {
    let mut chance = Chance::seeded_or_new();
    const FORGETS: u64 = 3;
    let plans = [
        (1, 20, "resend"),
        (1, 1_000, "resend"),
        (2, 20, "resend"),
        (2, 1_000, "resend"),
        (2, 1_000, "assume_delivered"),
    ];
    let mut world = World::start(&plans, messages(6_000));
    let faults = times(Fault::Forget, FORGETS).chain(times(Fault::Kill, 3)).chain(times(Fault::Cut, 3)).collect();
    let counted = world.play(faults, &mut chance);
    println!("seed {}", chance.seed());
    for Link { name, qos, window, session_lost, .. } in &world.links {
        let of = |what: &str| counted[name][what].as_u64().unwrap();
        assert_eq!((of("reordered"), of("epochs")), (0, 1), "{name}: {counted}");
        let at_stake = FORGETS * u64::from(*window);
        if *session_lost == "resend" {
            assert_eq!((of("lost"), of("holes")), (0, 0), "{name}: {counted}");
            // What was released and not confirmed when the session went.
            assert!(*qos == 1 || of("repeated") <= at_stake, "{name}: {counted}");
        } else {
            assert_eq!(of("repeated"), 0, "{name}: {counted}");
            assert!(of("holes") <= at_stake, "{name}: {counted}");
        }
    }
    world.finish();
}
