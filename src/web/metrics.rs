//! The snapshot in the OpenMetrics text format 1.0, which Prometheus reads.
//!
//! Base units (seconds, bytes), `_total` for what only rises, and no label but `bus`, `device` and `uplink`, so that the number of
//! series is known from the configuration. Points are not here: their values travel by MQTT.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{BusState, BusStatus, DeviceStatus, Snapshot, Timestamp, UplinkState, UplinkStatus};

/// What `/metrics` is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The snapshot as text.
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("fieldway");
    registry.register_collector(Box::new(Figures(snapshot)));
    let mut out = String::with_capacity(8 * 1024);
    prometheus_client::encoding::text::encode(&mut out, &registry).expect("writing to a String can't fail");
    out
}

#[derive(Debug)]
struct Figures(Snapshot);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(encoder);
        let snapshot = &self.0;
        whole(&mut out, snapshot)?;
        buses(&mut out, &snapshot.buses)?;
        devices(&mut out, &snapshot.buses)?;
        broker(&mut out, snapshot)?;
        uplinks(&mut out, &snapshot.uplinks)?;
        queues(&mut out, &snapshot.uplinks)
    }
}

fn whole(out: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.info("build", "The version of the program", &[("version", snapshot.version)])?;
    out.gauge("uptime", "Time since the gateway started", Some(Unit::Seconds), [([], snapshot.uptime.as_secs_f64())])?;
    let synced = number(snapshot.clock_synced);
    out.gauge("clock_synced", "1 when the wall clock has been set since the machine started", None, [([], synced)])?;
    let resident = snapshot.resident_bytes.map(|bytes| ([], bytes as f64));
    out.gauge("resident_memory", "Memory that the process holds in RAM", Some(Unit::Bytes), resident)?;
    let stuck = snapshot.stuck.len() as f64;
    out.gauge(
        "stuck_parts",
        "Parts of the gateway that ended or make no progress; 0 while all is well",
        None,
        [([], stuck)],
    )
}

fn buses(out: &mut Writer<'_>, buses: &[BusStatus]) -> fmt::Result {
    let each = |value: fn(&BusStatus) -> f64| buses.iter().map(move |bus| ([("bus", bus.bus.as_str())], value(bus)));
    out.gauge(
        "bus_up",
        "1 when the port or connection is open",
        None,
        each(|bus| number(bus.state == BusState::Open)),
    )?;
    out.counter("bus_busy", "Time spent in requests", Some(Unit::Seconds), each(|bus| bus.busy.as_secs_f64()))?;
    out.counter(
        "bus_damaged_telegrams",
        "Lines and frames that were too damaged, or too long, to be anyone's",
        None,
        each(|bus| bus.damaged as f64),
    )
}

fn devices(out: &mut Writer<'_>, buses: &[BusStatus]) -> fmt::Result {
    let each = |value: fn(&DeviceStatus) -> Option<f64>| {
        buses.iter().flat_map(move |bus| {
            let label = move |device| [("bus", bus.bus.as_str()), ("device", device)];
            bus.devices.iter().filter_map(move |status| Some((label(status.device.as_str()), value(status)?)))
        })
    };
    out.gauge(
        "device_online",
        "1 when the device answers, 0 when it is offline; absent until its first poll is over",
        None,
        each(|device| device.online.map(number)),
    )?;
    out.gauge(
        "device_last_answer_timestamp",
        "When the device last answered, since 1970",
        Some(Unit::Seconds),
        each(|device| device.last_answer.map(seconds)),
    )?;
    out.counter(
        "device_requests",
        "Requests sent, retries and probes included",
        None,
        each(|d| Some(d.requests as f64)),
    )?;
    out.counter(
        "device_request_failures",
        "Requests without an answer that could be used",
        None,
        each(|device| Some(device.failures as f64)),
    )?;
    out.counter(
        "device_skipped_polls",
        "Intervals that passed without a poll because the bus was busy",
        None,
        each(|device| Some(device.skipped as f64)),
    )
}

fn broker(out: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
    out.gauge("broker_listening", "1 once the local broker listens", None, [([], number(snapshot.broker.is_some()))])?;
    let Some(broker) = &snapshot.broker else { return Ok(()) };
    let one = |count: u64| [([], count as f64)];
    out.gauge("broker_clients", "Clients connected now", None, one(broker.clients))?;
    out.gauge("broker_subscriptions", "Subscriptions held now", None, one(broker.subscriptions))?;
    out.gauge("broker_retained_messages", "Retained messages held now", None, one(broker.retained))?;
    out.counter("broker_received_messages", "Messages taken from clients", None, one(broker.received))?;
    out.counter("broker_sent_messages", "Messages written to clients", None, one(broker.sent))?;
    out.counter(
        "broker_dropped_messages",
        "Messages that a slow subscriber did not get, or that could not be kept",
        None,
        one(broker.dropped),
    )
}

fn uplinks(out: &mut Writer<'_>, uplinks: &[UplinkStatus]) -> fmt::Result {
    let each = |value: fn(&UplinkStatus) -> f64| labelled(uplinks, move |uplink| Some(value(uplink)));
    out.gauge(
        "uplink_online",
        "1 when connected to the cloud",
        None,
        each(|u| number(u.state == UplinkState::Online)),
    )?;
    out.counter("uplink_connects", "Connections made", None, each(|uplink| uplink.connects as f64))?;
    out.counter(
        "uplink_sent_messages",
        "Messages sent, repetitions included",
        None,
        each(|uplink| uplink.sent as f64),
    )?;
    out.counter(
        "uplink_acknowledged_messages",
        "Messages that the cloud has acknowledged",
        None,
        each(|uplink| uplink.acknowledged as f64),
    )?;
    out.counter(
        "uplink_dropped_qos0_messages",
        "QoS 0 messages dropped because the uplink was away",
        None,
        each(|uplink| uplink.dropped_qos0 as f64),
    )?;
    out.counter(
        "uplink_received_messages",
        "Messages that came from the cloud, without repetitions",
        None,
        each(|uplink| uplink.accept.received as f64),
    )?;
    out.counter(
        "uplink_received_dropped_qos0_messages",
        "Of these, at QoS 0, messages that found no room here",
        None,
        each(|uplink| uplink.accept.dropped_qos0 as f64),
    )?;
    out.gauge(
        "uplink_refused_subscriptions",
        "Filters of accept rules that the cloud refuses",
        None,
        each(|uplink| uplink.accept.refused.len() as f64),
    )
}

fn queues(out: &mut Writer<'_>, uplinks: &[UplinkStatus]) -> fmt::Result {
    let each = |value: fn(&UplinkStatus) -> f64| labelled(uplinks, move |uplink| Some(value(uplink)));
    out.gauge("queue_messages", "Messages that wait for their acknowledgement", None, each(|u| u.queue.depth as f64))?;
    out.gauge(
        "queue_urgent_messages",
        "Those of them that go before the others",
        None,
        each(|uplink| uplink.queue.high as f64),
    )?;
    out.gauge("queue_size", "Bytes that they take of max_size", Some(Unit::Bytes), each(|u| u.queue.bytes as f64))?;
    out.gauge(
        "queue_oldest_message_timestamp",
        "When the oldest of them was queued, since 1970; absent when there is none",
        Some(Unit::Seconds),
        labelled(uplinks, |uplink| uplink.queue.oldest.map(seconds)),
    )?;
    out.gauge("queue_failing", "1 while the queue can't write", None, each(|u| number(u.queue.error.is_some())))?;
    out.counter("queue_queued_messages", "Messages queued", None, each(|u| u.queue.queued as f64))?;
    out.counter("queue_dropped_messages", "Messages given up by policy", None, each(|u| u.queue.dropped as f64))?;
    out.counter(
        "queue_set_aside_messages",
        "Messages put aside: refused by the cloud for good, or damaged on disk",
        None,
        each(|uplink| uplink.queue.set_aside as f64),
    )
}

fn labelled(
    uplinks: &[UplinkStatus],
    value: impl Fn(&UplinkStatus) -> Option<f64>,
) -> impl Iterator<Item = ([(&'static str, &str); 1], f64)> {
    uplinks.iter().filter_map(move |uplink| Some(([("uplink", uplink.uplink.as_str())], value(uplink)?)))
}

fn number(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}

/// Writes one family at a time; a family without samples is left out.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, samples)
    }

    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, samples)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &str)]) -> fmt::Result {
        let info = Info::new(labels.to_vec());
        info.encode(self.0.encode_descriptor(name, help, None, MetricType::Info)?)
    }

    fn family<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            if N == 0 {
                // Through `encode_family` it would be written `name{}`.
                return put(kind, value, family);
            }
            put(kind, value, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn put(kind: MetricType, value: f64, to: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(to),
        _ => ConstGauge::new(value).encode(to),
    }
}
