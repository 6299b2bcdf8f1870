//! The field's words: bus, device, point, reading, message, topic.
//!
//! Plain data and pure functions. Nothing here opens a file or a socket, asks the time or logs, and nothing
//! here imports another module of ours. Every other module speaks in these types.

mod bus;
mod command;
mod decimal;
mod device;
mod message;
mod name;
mod point;
mod queue;
mod reading;
mod status;
mod time;
mod topic;
mod value;

pub use bus::{Bus, DataBits, MaxGap, Parity, Protocol, SerialLine, StopBits, Transport};
pub use command::{NotSent, Order, OrderReport, Publisher, WriteEnd, Written};
pub use decimal::{Decimal, DecimalError};
pub use device::{Device, Publish, PublishMode};
pub use message::{Message, Properties, QoS};
pub use name::{Name, NameError};
pub use point::{ByteOrder, Point, PointType, RegisterTable};
pub use queue::{Durability, WhenFull};
pub use reading::{Reading, Round, Stamp};
pub use status::{BrokerStatus, BusState, BusStatus, DeviceStatus, QueueStatus, Snapshot, UplinkState, UplinkStatus};
pub use time::{Monotonic, Timestamp};
pub use topic::{Filter, Topic, TopicError, filter_matches, unfit_character};
pub use value::{Doubt, Fault, Sample, Value};
