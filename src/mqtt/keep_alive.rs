//! Keep-alive at both ends (§3.1.2.10): the server's patience, and the client's pings.

use std::time::Duration;

use crate::model::Monotonic;

/// A server waits one and a half times the keep-alive for any packet [MQTT-3.1.2-22].
#[derive(Debug, Clone, Copy)]
pub struct ServerKeepAlive {
    patience: Option<Duration>,
    heard: Monotonic,
}

impl ServerKeepAlive {
    /// With the client's keep-alive in seconds; 0 is none.
    pub fn new(keep_alive_s: u16, now: Monotonic) -> ServerKeepAlive {
        let patience = (keep_alive_s > 0).then(|| Duration::from_millis(1_500 * u64::from(keep_alive_s)));
        ServerKeepAlive { patience, heard: now }
    }

    /// A packet came, of any kind.
    pub fn heard(&mut self, now: Monotonic) {
        self.heard = now;
    }

    /// When the client is taken for lost unless something comes.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.patience.map(|patience| self.heard + patience)
    }

    /// Whether that moment has come.
    pub fn is_expired(&self, now: Monotonic) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }
}

/// A client pings when it has sent nothing for the interval [MQTT-3.1.2-20], and also when it has heard nothing for as long: what is
/// written into a half-open connection proves no peer.
#[derive(Debug, Clone, Copy)]
pub struct ClientKeepAlive {
    interval: Option<Duration>,
    answer_within: Duration,
    sent: Monotonic,
    heard: Monotonic,
    pinged: Option<Monotonic>,
}

/// What [`ClientKeepAlive::step`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAliveStep {
    /// Nothing before this moment.
    Wait(Monotonic),
    /// Send a PINGREQ; it counts as sent already.
    Ping,
    /// Nothing came after the PINGREQ in time: the connection is dead.
    Dead,
    /// Keep-alive is off.
    Off,
}

impl ClientKeepAlive {
    /// With the keep-alive in force (the server's, when it sent one) and the time to wait after a PINGREQ. An interval of zero is off.
    pub fn new(interval: Duration, answer_within: Duration, now: Monotonic) -> ClientKeepAlive {
        let interval = (!interval.is_zero()).then_some(interval);
        ClientKeepAlive { interval, answer_within, sent: now, heard: now, pinged: None }
    }

    /// A packet was sent, of any kind.
    pub fn sent(&mut self, now: Monotonic) {
        self.sent = now;
    }

    /// A packet came, of any kind.
    pub fn heard(&mut self, now: Monotonic) {
        self.heard = now;
        self.pinged = None;
    }

    /// What to do now.
    pub fn step(&mut self, now: Monotonic) -> KeepAliveStep {
        let Some(interval) = self.interval else { return KeepAliveStep::Off };
        if let Some(pinged) = self.pinged {
            let deadline = pinged + self.answer_within;
            return if now >= deadline { KeepAliveStep::Dead } else { KeepAliveStep::Wait(deadline) };
        }
        let due = self.sent.min(self.heard) + interval;
        if now < due {
            return KeepAliveStep::Wait(due);
        }
        self.pinged = Some(now);
        self.sent = now;
        KeepAliveStep::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_server_waits_one_and_a_half_times_the_keep_alive_since_the_last_packet() {
        let mut keep_alive = ServerKeepAlive::new(10, at(0));
        assert!(!keep_alive.is_expired(at(14)) && keep_alive.is_expired(at(15)));
        keep_alive.heard(at(14));
        assert_eq!(keep_alive.deadline(), Some(at(29)));
        assert_eq!(ServerKeepAlive::new(0, at(0)).deadline(), None);
    }

    #[test]
    fn a_client_pings_after_a_silent_interval_and_gives_up_without_an_answer() {
        let mut keep_alive = ClientKeepAlive::new(Duration::from_secs(60), Duration::from_secs(10), at(0));
        assert_eq!(keep_alive.step(at(59)), KeepAliveStep::Wait(at(60)));
        assert_eq!(keep_alive.step(at(60)), KeepAliveStep::Ping);
        assert_eq!(keep_alive.step(at(61)), KeepAliveStep::Wait(at(70)));
        keep_alive.heard(at(62));
        assert_eq!(keep_alive.step(at(63)), KeepAliveStep::Wait(at(120)));
        assert_eq!(keep_alive.step(at(120)), KeepAliveStep::Ping);
        assert_eq!(keep_alive.step(at(130)), KeepAliveStep::Dead);
    }

    #[test]
    fn a_client_that_only_sends_or_only_hears_pings_all_the_same() {
        let mut only_sends = ClientKeepAlive::new(Duration::from_secs(60), Duration::from_secs(10), at(0));
        only_sends.sent(at(59));
        assert_eq!(only_sends.step(at(60)), KeepAliveStep::Ping);
        let mut only_hears = ClientKeepAlive::new(Duration::from_secs(60), Duration::from_secs(10), at(0));
        only_hears.heard(at(59));
        assert_eq!(only_hears.step(at(60)), KeepAliveStep::Ping);
    }

    #[test]
    fn an_interval_of_zero_never_pings() {
        assert_eq!(
            ClientKeepAlive::new(Duration::ZERO, Duration::from_secs(1), at(0)).step(at(9999)),
            KeepAliveStep::Off
        );
    }
}
