//! `publish`, `report`, `qos` and `retain` of a device or a point, a point taking over what its device says; and
//! `byte_order` and `poll`, which are inherited too.

use std::time::Duration;

use crate::config::fields::Fields;
use crate::config::problem::Problems;
use crate::config::scalar::{Choice, Switch};
use crate::config::units::Span;
use crate::model::{ByteOrder, Publish, PublishMode, QoS};

const MODE: Choice<PublishMode> = Choice {
    now: &[("device", PublishMode::Device), ("points", PublishMode::Points), ("both", PublishMode::Both)],
    later: &[],
    foreign: &[("all", "both"), ("point", "points"), ("single", "points"), ("json", "device")],
};

const REPORT: Choice<()> = Choice {
    now: &[("every", ())],
    later: &[("change", "every reading is published; write `report: every` or remove it")],
    foreign: &[("always", "every"), ("all", "every"), ("on_change", "change"), ("changes", "change")],
};

const BYTE_ORDER: Choice<ByteOrder> = Choice {
    now: &[("ABCD", ByteOrder::Abcd), ("CDAB", ByteOrder::Cdab), ("BADC", ByteOrder::Badc), ("DCBA", ByteOrder::Dcba)],
    later: &[],
    foreign: &[
        ("big", "ABCD"),
        ("big-endian", "ABCD"),
        ("be", "ABCD"),
        ("little", "DCBA"),
        ("little-endian", "DCBA"),
        ("le", "DCBA"),
        ("swap", "CDAB"),
        ("word-swap", "CDAB"),
        ("word_swap", "CDAB"),
        ("abcdefgh", "ABCD"),
        ("ab", "ABCD"),
    ],
};

pub(super) const QOS: Choice<QoS> = Choice {
    now: &[("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce)],
    later: &[("2", "there are 0 and 1; with 1 nothing is lost, and after a cut a message may come twice")],
    foreign: &[],
};

/// What a device sets for its points unless they say otherwise.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) poll: Duration,
    pub(super) byte_order: ByteOrder,
    pub(super) publish: Publish,
}

impl Defaults {
    /// What holds where a device says nothing.
    pub(super) const GATEWAY: Defaults = Defaults {
        poll: Duration::from_secs(1),
        byte_order: ByteOrder::Abcd,
        publish: Publish { mode: PublishMode::Device, qos: QoS::AtLeastOnce, retain: true },
    };

    /// These, changed by what the fields say.
    pub(super) fn changed(self, fields: &Fields<'_>, problems: &mut Problems) -> Defaults {
        fields.read("report", &REPORT, problems);
        Defaults {
            poll: fields.read("poll", &Span::millis(1..=86_400_000), problems).unwrap_or(self.poll),
            byte_order: fields.read("byte_order", &BYTE_ORDER, problems).unwrap_or(self.byte_order),
            publish: Publish {
                mode: fields.read("publish", &MODE, problems).unwrap_or(self.publish.mode),
                qos: fields.read("qos", &QOS, problems).unwrap_or(self.publish.qos),
                retain: fields.read("retain", &Switch, problems).unwrap_or(self.publish.retain),
            },
        }
    }
}
