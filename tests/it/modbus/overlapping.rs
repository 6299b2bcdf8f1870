//! Several Modbus TCP requests at a time, with servers that overlap, that don't, and that can't.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fieldway::model::{ByteOrder, Device, PointType, RegisterTable, Sample, Value};
use fieldway::poll::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Polled, device, point, tcp};

/// What a request takes the server.
const WORK: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// Works on all requests at once, and answers the later ones first.
    Overlaps,
    /// Takes one request after the other from its buffer.
    InOrder,
    /// Takes one request at a time and throws away what arrived with it or meanwhile.
    Forgets,
    /// Hangs up after three answers.
    HangsUp,
    /// Never answers requests for register 500, and works on the others at once.
    LeavesOut,
}

/// Eight requests that look alike.
fn plc() -> Arc<Device> {
    let points = (0..8).map(|n| point(RegisterTable::Holding, n * 250, PointType::U16, ByteOrder::Abcd, INTERVAL));
    device("plc", 1, points.collect())
}

fn answer(request: [u8; 12]) -> Vec<u8> {
    // A register holds its address.
    [&request[..4], &[0, 5], &[request[6], 3, 2], &request[8..10]].concat()
}

async fn serve(mut stream: TcpStream, server: Server, most: Arc<AtomicUsize>) -> std::io::Result<()> {
    let (to_writer, mut answers) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut request = [0; 12];
    match server {
        Server::Overlaps | Server::LeavesOut => {
            let (mut reader, mut writer) = stream.into_split();
            tokio::spawn(async move {
                while let Some(answer) = answers.recv().await {
                    let _ = writer.write_all(&answer).await;
                }
            });
            let under_way = Arc::new(AtomicUsize::new(0));
            loop {
                reader.read_exact(&mut request).await?;
                let address = u16::from_be_bytes([request[8], request[9]]);
                if server == Server::LeavesOut && address == 500 {
                    continue;
                }
                let (to_writer, under_way, most) = (to_writer.clone(), Arc::clone(&under_way), Arc::clone(&most));
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::spawn(async move {
                    tokio::time::sleep(WORK - Duration::from_millis(u64::from(address / 250))).await;
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    let _ = to_writer.send(answer(request));
                });
            }
        }
        Server::InOrder | Server::Forgets | Server::HangsUp => {
            let mut answers = 0;
            loop {
                stream.read_exact(&mut request).await?;
                tokio::time::sleep(WORK / 4).await;
                if server == Server::Forgets {
                    while stream.try_read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
                }
                stream.write_all(&answer(request)).await?;
                answers += 1;
                if server == Server::HangsUp && answers == 3 {
                    return Ok(());
                }
            }
        }
    }
}

/// Polls the server with up to eight requests at a time until `rounds` whole rounds of right values came; returns how long that
/// took, how many requests were under way at most, and the failures.
async fn poll(server: Server, expected: usize, rounds: usize) -> (Duration, usize, u64) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let most = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let counter = Arc::clone(&counter);
            tokio::spawn(async move { drop(serve(stream, server, counter).await) });
        }
    });
    let mut bus = Polled::start_overlapping(tcp(port), 200, 8, vec![plc()]);
    let begun = Instant::now();
    let mut whole = 0;
    while whole < rounds {
        let Event::Round(round) = bus.next().await else { continue };
        let good = round.readings.iter().filter(|reading| matches!(reading.sample, Sample::Good(_))).count();
        for reading in &round.readings {
            let address = round.device.points[reading.point].register().unwrap().address;
            if let Sample::Good(value) = &reading.sample {
                assert_eq!(*value, Value::Integer(address.into()), "{server:?}: a wrong value");
            }
        }
        whole += usize::from(good == expected);
    }
    let failures = bus.status.borrow().devices[0].failures;
    bus.stop().await;
    (begun.elapsed(), most.load(Ordering::SeqCst), failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_overlaps_is_sent_eight_requests_at_a_time() {
    let (took, most, failures) = poll(Server::Overlaps, 8, 10).await;
    assert_eq!((most, failures), (8, 0));
    // One at a time, ten rounds would take 1.4 s.
    assert!(took < Duration::from_millis(1100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_answers_in_order_loses_nothing() {
    let (_, _, failures) = poll(Server::InOrder, 8, 10).await;
    assert_eq!(failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_forgets_what_came_meanwhile_is_asked_one_at_a_time_after_three_losses() {
    let (_, _, failures) = poll(Server::Forgets, 8, 10).await;
    assert_eq!(failures, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_hangs_up_after_some_answers_is_asked_for_the_rest_on_a_new_connection() {
    let (_, _, failures) = poll(Server::HangsUp, 8, 10).await;
    assert_eq!(failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_that_is_never_answered_leaves_the_others_their_values() {
    let (_, most, _) = poll(Server::LeavesOut, 7, 10).await;
    assert!(most > 1, "{most}");
}
