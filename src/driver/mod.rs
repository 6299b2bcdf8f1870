//! Drivers: how a protocol's requests are planned, sent and understood. One folder or file a protocol, one line in
//! the [table](for_bus) each.
//!
//! A driver owns its line (a serial port, a connection) and what is on it. It refuses to decide *when* something is
//! read, what a failure means for a device, and how a reading is published: that is `poll`'s and `route`'s.

pub mod modbus;
pub mod serial;
mod stream;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::model::{Bus, Device, Fault, Protocol, Reading, RegisterTable, Sample, Transport, Value};

/// What a driver's I/O returns: a boxed future, so that drivers can stand in a table.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One protocol on one line.
///
/// `plan`, `split`, `plan_writes` and `longest` are pure. `open`, `read` and `write` may be dropped half-way only if the driver is
/// dropped too.
pub trait Driver: Send {
    /// The requests that read `points` (indices into [`Device::points`]), all of them due together. Every point is in
    /// exactly one request, and no request is without points.
    fn plan(&self, device: &Device, points: &[usize]) -> Vec<Request>;

    /// Smaller requests for the same points, after the device refused `request` with `fault`. Empty when smaller
    /// ones would not help; then the refusal is about each of its points.
    fn split(&self, device: &Device, request: &Request, fault: Fault) -> Vec<Request>;

    /// How long the line is busy with `request` when the device answers as devices usually do.
    fn expected(&self, request: &Request) -> Duration {
        let _ = request;
        Duration::ZERO
    }

    /// The longest that [`read`](Driver::read) keeps the line busy when nothing answers.
    fn longest(&self) -> Duration;

    /// Opens the line, or opens it again after [`Failure::LineGone`].
    fn open(&mut self) -> Pending<'_, Result<(), LineError>>;

    /// Sends one request, waits for its answer, and appends one sample for each of the request's points, in their
    /// order. Appends nothing when it fails.
    fn read<'a>(
        &'a mut self,
        device: &'a Device,
        request: &'a Request,
        samples: &'a mut Vec<Sample>,
    ) -> Pending<'a, Result<(), Failure>>;

    /// The devices on the line, told once, before anything else.
    fn attach(&mut self, devices: &[Arc<Device>]) {
        let _ = devices;
    }

    /// The points of a device that come unasked: they are in no request, and what is heard of them comes out of
    /// [`heard`](Driver::heard).
    fn unasked(&self, device: &Device) -> Vec<usize> {
        let _ = device;
        Vec::new()
    }

    /// Waits until something was heard that nobody asked for, while the line has nothing else to do; for ever on most
    /// lines, and on one that is closed. May be dropped half-way and called again.
    fn listen(&mut self) -> Pending<'_, Result<(), LineError>> {
        Box::pin(std::future::pending())
    }

    /// What was heard since the last call that nobody asked for, in order.
    fn heard(&mut self) -> Vec<Heard> {
        Vec::new()
    }

    /// How many lines or frames since the last call were too damaged to be anyone's.
    fn damaged(&mut self) -> u64 {
        0
    }

    /// A request in words, for people.
    fn describe(&self, device: &Device, request: &Request) -> String {
        let _ = device;
        let cell = if request.table.is_bits() { "bit" } else { "register" };
        let plural = if request.count == 1 { "" } else { "s" };
        format!("{} {}, {} {cell}{plural}", request.table.as_str(), request.address, request.count)
    }

    /// As few requests as can write `values` (points as indices into [`Device::points`], each once). A value is never cut in
    /// two, unless it is made of bits that share their registers with others.
    ///
    /// Errors when a point can't hold its value, or when this protocol can't write.
    fn plan_writes(&self, device: &Device, values: &[(usize, Value)]) -> Result<Vec<WriteRequest>, Unfit> {
        let _ = device;
        let why = "points of this kind of device can't be written".to_owned();
        Err(Unfit { point: values.first().map_or(0, |(point, _)| *point), why })
    }

    /// Sends one request of [`plan_writes`](Driver::plan_writes), at most once, and waits for its answer. Where that tells what the device
    /// holds now, it comes as points and their samples; what it does not tell has to be read.
    fn write<'a>(
        &'a mut self,
        device: &'a Device,
        request: &'a WriteRequest,
    ) -> Pending<'a, Result<Seen, WriteFailure>> {
        let _ = (device, request);
        Box::pin(async { Err(WriteFailure::Refused(Fault::IllegalFunction)) })
    }

    /// Asks whoever has this unit id who it is: object numbers of the Modbus device identification (0 vendor, 1 product code, 2
    /// revision, 3 URL, 4 product name, 5 model name) and their texts. Nothing when it is there and does not say.
    ///
    /// Errors with [`Failure::NoAnswer`] when nobody is there, and refuses where there are no unit ids.
    fn identify(&mut self, unit_id: u8) -> Pending<'_, Result<Vec<(u8, String)>, Failure>> {
        let _ = unit_id;
        Box::pin(async { Err(Failure::Refused(Fault::IllegalFunction)) })
    }

    /// The other way to read, for lines that take several requests at a time. `None` when this one does not.
    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        None
    }
}

/// What a device said by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Who.
    pub device: Arc<Device>,
    /// Points and the time at which each came, or was overdue.
    pub readings: Vec<Reading>,
    /// At least one of its points that come unasked is not overdue.
    pub is_there: bool,
}

/// A line that takes several requests at a time. [`Driver::read`] is called only while none of them is under way.
pub trait Pipeline: Send {
    /// How many it takes.
    fn depth(&self) -> usize;

    /// Takes a request; its end comes out of [`finished`](Pipeline::finished) under this ticket.
    fn send(&mut self, ticket: u64, device: Arc<Device>, request: Arc<Request>);

    /// Sends what was taken and waits until requests are over; for ever when none is under way. May be dropped half-way and called
    /// again. Where one costs the others their connection, these come before it, as [`Ending::Cut`].
    fn finished(&mut self) -> Pending<'_, Vec<Finished>>;
}

/// A request of a [`Pipeline`] that is over.
#[derive(Debug)]
pub struct Finished {
    /// Which.
    pub ticket: u64,
    /// How.
    pub ending: Ending,
}

/// How a request of a [`Pipeline`] ended.
#[derive(Debug, PartialEq)]
pub enum Ending {
    /// One sample for each of the request's points, in their order.
    Answer(Vec<Sample>),
    /// No samples. After [`Failure::LineGone`] nothing is under way any more.
    Failed(Failure),
    /// The connection was closed because of another request: nothing is known about this one.
    Cut,
}

/// The drivers. A new one is a folder or file beside `modbus` and a line here.
const TABLE: &[(Protocol, MakeDriver)] = &[
    (Protocol::ModbusRtu, modbus::rtu),
    (Protocol::ModbusAscii, modbus::ascii),
    (Protocol::ModbusTcp, modbus::tcp),
    (Protocol::Lines, serial::lines),
    (Protocol::Frames, serial::frames),
];

type MakeDriver = fn(&Bus, Clock) -> Result<Box<dyn Driver>, DriverError>;

/// The driver that speaks the bus's protocol; its line is not open yet.
///
/// Errors when nothing in the table speaks it, or not over this transport.
pub fn for_bus(bus: &Bus, clock: Clock) -> Result<Box<dyn Driver>, DriverError> {
    let (_, make) =
        TABLE.iter().find(|(protocol, _)| *protocol == bus.protocol).ok_or(DriverError::NoDriver(bus.protocol))?;
    make(bus, clock)
}

/// One exchange on the line: a run of cells of one device that holds some of its points. On lines without cells its points say
/// what is asked, and the other numbers mean nothing; [`Driver::describe`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which table is read.
    pub table: RegisterTable,
    /// 0-based address of the first cell.
    pub address: u16,
    /// How many cells, at least 1; `address + count` never passes 65,536.
    pub count: u16,
    /// The points in it: indices into [`Device::points`].
    pub points: Vec<usize>,
}

/// One exchange that changes cells of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRequest {
    /// What becomes of which cells.
    pub change: Change,
    /// The points that it writes, or writes a part of: indices into [`Device::points`], and what they are to be read as afterwards.
    pub points: Vec<(usize, Value)>,
}

/// Points, as indices into [`Device::points`], and what they hold.
pub type Seen = Vec<(usize, Sample)>;

/// A change of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Coils, from `address` on.
    Coils {
        /// 0-based address of the first.
        address: u16,
        /// What they become; at least one.
        bits: Vec<bool>,
    },
    /// Holding registers, from `address` on.
    Registers {
        /// 0-based address of the first.
        address: u16,
        /// What they become; at least one.
        values: Vec<u16>,
    },
    /// Some bits of one holding register; the others stay as they are.
    Bits {
        /// 0-based address.
        address: u16,
        /// What they become.
        value: u16,
        /// Which.
        mask: u16,
    },
}

impl Change {
    /// Whether it is about coils.
    pub fn is_coils(&self) -> bool {
        matches!(self, Change::Coils { .. })
    }

    /// Whether it is one coil or one whole register.
    pub fn is_single(&self) -> bool {
        match self {
            Change::Coils { bits, .. } => bits.len() == 1,
            Change::Registers { values, .. } => values.len() == 1,
            Change::Bits { .. } => false,
        }
    }
}

/// Why a value can't be written, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unfit {
    /// Index into [`Device::points`].
    pub point: usize,
    /// What is wrong, and what to try.
    pub why: String,
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteFailure {
    /// The device answered, and said no: nothing was written.
    #[error("the device refuses: {0}")]
    Refused(Fault),
    /// The request was sent, and no answer that can be believed came: it may have been done.
    #[error("no usable answer: {0}")]
    Unanswered(Fault),
    /// The port or the connection is gone and the request was not sent: nothing was written.
    #[error(transparent)]
    NotSent(#[from] LineError),
}

/// Why a request brought no samples. Each kind has a scope of its own, and the smallest is blamed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The device answered, and said no: about this request's points.
    #[error("the device refuses: {0}")]
    Refused(Fault),
    /// No answer that can be believed: about this device. The line is fine.
    #[error("no usable answer: {0}")]
    NoAnswer(Fault),
    /// The port or the connection is gone: about every device on the line.
    #[error(transparent)]
    LineGone(#[from] LineError),
}

/// Why a line can't be used, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// `ENOENT`, `ENODEV` or `ENXIO`.
    #[error("{0}: there is no such serial port; is the adapter plugged in? `ls -l /dev/serial/by-id/` lists what is")]
    PortMissing(String),
    /// `EACCES`.
    #[error("{0}: permission denied; add the gateway's user to the group that owns the port, usually `dialout`")]
    PortForbidden(String),
    /// `EPERM`: systemd allows the service some kinds of devices, and this is another.
    #[error(
        "{0}: this kind of device is not one that the service may open; allow it: `sudo systemctl edit fieldway`, and there, below `[Service]`, \
         a line like `DeviceAllow=char-ttySC rw` with the driver's name of `/proc/devices`; then restart it"
    )]
    PortShut(String),
    /// `EBUSY`, or another program's lock.
    #[error("{0}: another program holds this port; `fuser -v {0}` names it, and once it is closed the port is used")]
    PortBusy(String),
    /// Anything else at opening.
    #[error("{path}: can't be opened as a serial port: {cause}; do baud, data_bits, parity and stop_bits suit it?")]
    PortUnusable {
        /// The port.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// The driver of the port took the settings without an error, and did not apply them.
    #[error("{path}: this port can't do {setting}; does its chip offer that setting?")]
    SettingRefused {
        /// The port.
        path: String,
        /// Which, as in the configuration.
        setting: String,
    },
    /// `TIOCSRS485` failed.
    #[error(
        "{path}: this port's driver can't switch an RS-485 transceiver ({cause}); remove `rs485` if the adapter does it by itself"
    )]
    NoRs485 {
        /// The port.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// It was open and failed.
    #[error("{path}: the serial port is gone ({cause}); waiting for it to come back")]
    PortGone {
        /// The port.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// `ECONNREFUSED`.
    #[error("{0}: connection refused; is its server switched on, and the port right?")]
    Refused(String),
    /// No connection within the time given.
    #[error("{0}: no answer to the connection attempt; is the device on, and reachable from here?")]
    Unreachable(String),
    /// The host name has no address.
    #[error("{address}: the host name can't be resolved: {cause}")]
    Unresolved {
        /// `host:port`
        address: String,
        /// What the system said.
        cause: String,
    },
    /// Anything else while connecting.
    #[error("{address}: can't connect: {cause}")]
    Connect {
        /// `host:port`
        address: String,
        /// What the system said.
        cause: String,
    },
    /// A connection that was there ended.
    #[error("{address}: the connection is gone ({cause}); connecting again")]
    ConnectionGone {
        /// `host:port`
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The port to listen on can't be had.
    #[error("{address}: can't listen there: {cause}; does another program, or this one already, listen on it?")]
    CantListen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// Nobody has dialled in.
    #[error("{0}: no device has connected yet; is it set up to dial this address, and does a firewall let it through?")]
    NobodyDialsIn(SocketAddr),
    /// The device that had dialled in is gone.
    #[error("{address}: the device's connection is gone ({cause}); waiting for it to dial in again")]
    CallerGone {
        /// Where it had dialled in.
        address: SocketAddr,
        /// What the system said.
        cause: String,
    },
}

/// Why there is no driver for a bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// Nothing in the table.
    #[error("no driver speaks {}", .0.as_str())]
    NoDriver(Protocol),
    /// The driver does not work over this transport.
    #[error("{} does not run over {}", protocol.as_str(), transport.what())]
    WrongTransport {
        /// What was to be spoken.
        protocol: Protocol,
        /// Where.
        transport: Transport,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, SerialLine};

    fn bus(transport: Transport, protocol: Protocol) -> Bus {
        Bus::new(Name::new("plc").unwrap(), transport, protocol)
    }

    #[tokio::test]
    async fn every_protocol_has_a_driver_and_a_wrong_transport_is_refused() {
        let tcp = Transport::Tcp { host: "localhost".into(), port: 502 };
        let serial = Transport::Serial(SerialLine::new("/dev/ttyUSB0", 9600));
        for protocol in Protocol::ALL {
            assert!(for_bus(&bus(tcp.clone(), protocol), Clock::start()).is_ok(), "{protocol:?}");
        }
        let error = for_bus(&bus(serial.clone(), Protocol::ModbusTcp), Clock::start()).err();
        assert_eq!(error, Some(DriverError::WrongTransport { protocol: Protocol::ModbusTcp, transport: serial }));
    }
}
