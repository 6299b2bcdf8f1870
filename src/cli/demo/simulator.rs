//! The plant's devices on the wire: a Modbus TCP server with two units and, through a pty, an RTU line with two meters.
//!
//! Read-only, as the demo's gateway only reads. What a unit holds is decided by [`plant`](super::plant).

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_modbus::server::{Service, rtu, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::plant::{self, Image};

/// Unit identifiers of the meters on the serial line.
pub const METERS: [u8; 2] = [11, 12];

/// The running devices.
#[derive(Debug)]
pub struct Simulator {
    /// Where the Modbus TCP plant listens.
    pub tcp: SocketAddr,
    /// The device file of the serial line.
    pub serial: String,
    plugged_in: Arc<AtomicBool>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<io::Result<()>>>,
    /// While one handle of this end is open, the line stays up when the gateway closes its own.
    _line: SerialStream,
}

impl Simulator {
    /// Starts the devices on a free port and a new pty. Errors when the system has neither.
    pub async fn start(clock: Clock) -> anyhow::Result<Simulator> {
        let cancel = CancellationToken::new();
        let plugged_in = Arc::new(AtomicBool::new(true));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port for the simulated plant")?;
        let tcp = listener.local_addr().context("no address for the simulated plant")?;
        let (device_end, line) = SerialStream::pair().context("no pty for the simulated serial line")?;
        let serial = line.name().context("the pty has no name")?;
        let plant = Arc::new(Plant { clock });
        let meters = Meters { clock, plugged_in: plugged_in.clone() };
        let tasks = vec![
            tokio::spawn(serve_tcp(listener, plant, cancel.clone())),
            tokio::spawn(serve_serial(device_end, meters, cancel.clone())),
        ];
        Ok(Simulator { tcp, serial, plugged_in, cancel, tasks, _line: line })
    }

    /// Lets the second meter answer, or not.
    pub fn plug_second_meter(&self, plugged_in: bool) {
        self.plugged_in.store(plugged_in, Ordering::Relaxed);
    }

    /// Ends all devices. Errors when one had failed by itself.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.cancel.cancel();
        for task in self.tasks {
            task.await.context("a simulated device broke")?.context("a simulated device failed")?;
        }
        Ok(())
    }
}

async fn serve_tcp(listener: TcpListener, plant: Arc<Plant>, cancel: CancellationToken) -> io::Result<()> {
    let connected = |stream, _| {
        let plant = plant.clone();
        async move { Ok(Some((plant, stream))) }
    };
    // A gateway that goes away breaks its connection; that is no fault of the device.
    let broken = |error: io::Error| tracing::debug!(%error, "a connection to the simulated plant broke");
    let stopped = async move { cancel.cancelled().await };
    tcp::Server::new(listener).serve_until(&connected, broken, stopped).await.map(|_| ())
}

async fn serve_serial(port: SerialStream, meters: Meters, cancel: CancellationToken) -> io::Result<()> {
    let stopped = async move { cancel.cancelled().await };
    rtu::Server::new(port).serve_until(meters, stopped).await.map(|_| ())
}

/// Boiler and air handler.
struct Plant {
    clock: Clock,
}

impl Service for Plant {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let at = self.clock.now().0;
        ready(match request.slave {
            1 => answer(&request.request, &plant::boiler(at)),
            2 => answer(&request.request, &plant::air_handler(at)),
            _ => Err(ExceptionCode::GatewayTargetDevice),
        })
    }
}

/// Two meters on one line: who is not addressed, or has no power, stays silent.
struct Meters {
    clock: Clock,
    plugged_in: Arc<AtomicBool>,
}

impl Service for Meters {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let at = self.clock.now().0;
        let number = METERS.iter().position(|unit| *unit == request.slave);
        ready(match number {
            Some(1) if !self.plugged_in.load(Ordering::Relaxed) => Ok(None),
            Some(index) => answer(&request.request, &plant::meter(index as u8 + 1, at)).map(Some),
            None => Ok(None),
        })
    }
}

/// What a unit that holds `image` answers.
fn answer(request: &Request<'_>, image: &Image) -> Result<Response, ExceptionCode> {
    match *request {
        Request::ReadCoils(address, count) => cells(&image.coils, address, count).map(Response::ReadCoils),
        Request::ReadDiscreteInputs(address, count) => {
            cells(&image.discrete, address, count).map(Response::ReadDiscreteInputs)
        }
        Request::ReadInputRegisters(address, count) => {
            cells(&image.input, address, count).map(Response::ReadInputRegisters)
        }
        Request::ReadHoldingRegisters(address, count) => {
            cells(&image.holding, address, count).map(Response::ReadHoldingRegisters)
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}

fn cells<T: Copy>(table: &[T], address: u16, count: u16) -> Result<Vec<T>, ExceptionCode> {
    let (from, count) = (usize::from(address), usize::from(count));
    table.get(from..from + count).map(<[T]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use tokio_modbus::client::{self, Reader};
    use tokio_modbus::slave::{Slave, SlaveContext};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_plant_answers_over_tcp_and_refuses_what_it_does_not_have() {
        let simulator = Simulator::start(Clock::start()).await.unwrap();
        let mut context = client::tcp::connect_slave(simulator.tcp, Slave(1)).await.unwrap();
        let holding = timeout(PATIENCE, context.read_holding_registers(0, 4)).await.unwrap().unwrap().unwrap();
        assert!((500..700).contains(&holding[0]), "{holding:?}");
        let refused = context.read_holding_registers(4, 1).await.unwrap().unwrap_err();
        assert_eq!(refused, ExceptionCode::IllegalDataAddress);
        context.set_slave(Slave(9));
        let unknown = context.read_coils(0, 1).await.unwrap().unwrap_err();
        assert_eq!(unknown, ExceptionCode::GatewayTargetDevice);
        timeout(PATIENCE, simulator.stop()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_unplugged_meter_is_silent_and_the_other_answers_also_after_the_port_was_reopened() {
        let simulator = Simulator::start(Clock::start()).await.unwrap();
        for round in 0..2 {
            let port = SerialStream::open(&tokio_serial::new(&simulator.serial, 19_200)).unwrap();
            let mut context = client::rtu::attach_slave(port, Slave(METERS[0]));
            simulator.plug_second_meter(false);
            let volts = timeout(PATIENCE, context.read_input_registers(0, 2)).await.unwrap().unwrap().unwrap();
            assert_eq!(volts[0] >> 4, 0x436, "{round}: about 230 V begins with these bits: {volts:x?}");
            context.set_slave(Slave(METERS[1]));
            let silent = timeout(Duration::from_millis(50), context.read_input_registers(0, 2)).await;
            assert!(silent.is_err(), "{silent:?}");
            simulator.plug_second_meter(true);
            assert!(timeout(PATIENCE, context.read_input_registers(0, 2)).await.unwrap().unwrap().is_ok());
        }
        timeout(PATIENCE, simulator.stop()).await.unwrap().unwrap();
    }
}
