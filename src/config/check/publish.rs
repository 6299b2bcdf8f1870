//! `publish`, `report`, `deadband`, `max_silence`, `qos` and `retain` of a device or a point, a point taking over what its device says; and
//! `byte_order` and `poll`, which are inherited too.

use std::time::Duration;

use crate::config::fields::Fields;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::{Choice, Exact, Read, Switch, Wrong};
use crate::config::tree::Scalar;
use crate::config::units::Span;
use crate::config::yaml::short;
use crate::model::{ByteOrder, Deadband, Decimal, Naming, PointType, Publish, PublishMode, QoS, Report, ReportMode};

const MODE: Choice<PublishMode> = Choice {
    now: &[("device", PublishMode::Device), ("points", PublishMode::Points), ("both", PublishMode::Both)],
    later: &[],
    foreign: &[("all", "both"), ("point", "points"), ("single", "points"), ("json", "device")],
};

const REPORT: Choice<ReportMode> = Choice {
    now: &[("every", ReportMode::Every), ("change", ReportMode::Change)],
    later: &[],
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

const QOS: Choice<QoS> = Choice {
    now: &[("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce)],
    later: &[("2", "there are 0 and 1; with 1 nothing is lost, and after a cut a message may come twice")],
    foreign: &[],
};

/// What a device sets for its points unless they say otherwise.
#[derive(Clone)]
pub(super) struct Defaults {
    pub(super) poll: Duration,
    pub(super) byte_order: ByteOrder,
    pub(super) publish: Publish,
    pub(super) report: Report,
}

impl Defaults {
    /// What holds where a device says nothing.
    pub(super) const GATEWAY: Defaults = Defaults {
        poll: Duration::from_secs(1),
        byte_order: ByteOrder::Abcd,
        publish: Publish { mode: PublishMode::Device, qos: QoS::AtLeastOnce, retain: true },
        report: Report { mode: ReportMode::Every, deadband: None, max_silence: None },
    };

    /// These, changed by what the fields say.
    pub(super) fn changed(&self, fields: &Fields<'_>, problems: &mut Problems) -> Defaults {
        Defaults {
            report: self.report(fields, problems),
            poll: fields.read("poll", &Span::millis(1..=86_400_000), problems).unwrap_or(self.poll),
            byte_order: fields.read("byte_order", &BYTE_ORDER, problems).unwrap_or(self.byte_order),
            publish: Publish {
                mode: fields.read("publish", &MODE, problems).unwrap_or(self.publish.mode),
                qos: fields.read("qos", &QOS, problems).unwrap_or(self.publish.qos),
                retain: fields.read("retain", &Switch, problems).unwrap_or(self.publish.retain),
            },
        }
    }

    /// `deadband` and `max_silence` speak of changes, so they mean `report: change`.
    fn report(&self, fields: &Fields<'_>, problems: &mut Problems) -> Report {
        let mode = fields.read("report", &REPORT, problems);
        let deadband = fields.read("deadband", &Band, problems);
        let max_silence = fields.read("max_silence", &Span::millis(100..=86_400_000), problems);
        for key in ["deadband", "max_silence"].into_iter().filter(|_| mode == Some(ReportMode::Every)) {
            let (Some(entry), Some(every)) = (fields.entry(key), fields.entry("report")) else { continue };
            problems.push(
                Problem::at(&entry.key_span, format!("`{key}` of {} has no effect", fields.whose))
                    .label("is about changes")
                    .also(&every.value.span, "every reading is published")
                    .help("write `report: change`, or remove one of the two"),
            );
        }
        let implied = (deadband.is_some() || max_silence.is_some()).then_some(ReportMode::Change);
        Report {
            mode: mode.or(implied).unwrap_or(self.report.mode),
            deadband: deadband.or_else(|| self.report.deadband.clone()),
            max_silence: max_silence.or(self.report.max_silence),
        }
    }
}

/// A point that is no number has no deadband of its own: any change of it counts.
pub(super) fn refuse_deadband(
    fields: &Fields<'_>,
    kind: Option<PointType>,
    naming: Option<&Naming>,
    problems: &mut Problems,
) {
    if naming.is_none() && kind.is_none_or(PointType::is_number) {
        return;
    }
    if let Some(entry) = fields.entry("deadband") {
        problems.push(
            Problem::at(&entry.key_span, format!("{} is no number, and has no `deadband`", fields.whose))
                .label("has no meaning here")
                .help("write `report: change`: then each change is published"),
        );
    }
}

/// `0.2` or `2%`.
struct Band;

impl Read for Band {
    type Out = Deadband;

    fn wanted(&self) -> String {
        "a number in the point's unit, such as 0.2, or a share, such as 2%".into()
    }

    fn read(&self, scalar: &Scalar) -> Result<Deadband, Wrong> {
        let share = scalar.text.strip_suffix('%').map(str::trim_end);
        let number = Scalar { text: share.unwrap_or(&scalar.text).into(), plain: scalar.plain };
        let number = Exact.read(&number)?;
        if number < Decimal::from(0u16) {
            return Err(Wrong::new(format!("`{}` is less than 0", short(&scalar.text))));
        }
        Ok(if share.is_some() { Deadband::Percent(number) } else { Deadband::Absolute(number) })
    }
}
