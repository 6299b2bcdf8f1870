//! The field's words: bus, device, point, reading, message, topic.
//!
//! Plain data and pure functions. Nothing here opens a file or a socket, asks the time or logs, and nothing
//! here imports another module of ours. Every other module speaks in these types.

mod boot;
mod bus;
mod command;
mod decimal;
mod device;
mod message;
mod name;
mod naming;
mod pattern;
mod point;
mod pulse;
mod queue;
mod reading;
mod register;
mod status;
mod telegram;
mod time;
mod topic;
mod value;

pub use boot::{BootId, SinceBoot, correct, mark_unsynced};
pub use bus::{Bus, DataBits, MaxGap, Network, Parity, Protocol, SerialLine, StopBits, Transport};
pub use command::{NotSent, Order, OrderReport, Publisher, WriteEnd, Written};
pub use decimal::{Decimal, DecimalError};
pub use device::{Device, Publish, PublishMode, Quirks};
pub use message::{Message, Properties, QoS};
pub use name::{Name, NameError};
pub use naming::{BitNames, Bits, EnumNames, Naming};
pub use pattern::{Pattern, PatternError};
pub use point::{Deadband, Point, Report, ReportMode, Sentinel, Source, Write};
pub use pulse::Pulse;
pub use queue::{Durability, Priority, WhenFull};
pub use reading::{Reading, Round, Stamp};
pub use register::{ByteOrder, Encoding, Half, PointType, RegisterSource, RegisterTable};
pub use status::{
    AcceptStatus, BrokerStatus, BusState, BusStatus, DevicePoints, DeviceStatus, QueueStatus, Snapshot, UplinkState,
    UplinkStatus,
};
pub use telegram::{
    ChecksumKind, Crc, Delimiter, Find, FrameChecksum, FrameFormat, FrameLength, FramePlace, FrameSource, Hearing,
    LineFormat, LineSource, NmeaField, StreamFormat, TextType,
};
pub use time::{Monotonic, Timestamp};
pub use topic::{Filter, Topic, TopicError, filter_matches, unfit_character};
pub use value::{Fault, Sample, Value};
