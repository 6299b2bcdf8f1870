//! Whatever a line says, the collector of Modbus ASCII frames takes it in bounded memory, and a good answer behind it is found.

use fieldway::driver::Request;
use fieldway::driver::modbus::frames::{AsciiCollector, Ask, ascii_frame};
use fieldway::model::RegisterTable;

/// What the fuzzer, and the tests with what it has found, call.
pub fn exercise(data: &[u8]) {
    let [unit, count, piece, stream @ ..] = data else { return };
    let count = u16::from(*count) % 125 + 1;
    let request = Request { table: RegisterTable::Holding, address: 7, count, points: vec![0] };
    let mut collector = AsciiCollector::new(*unit, &Ask::read(&request));
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        if let Some(pdu) = collector.push(bytes) {
            assert!(pdu.len() == 2 || pdu.len() == 2 + 2 * usize::from(count), "{} bytes of answer", pdu.len());
            return;
        }
        collector.is_damaged();
        collector.verdict();
    }
    let pdu: Vec<u8> = [3, (count * 2) as u8].into_iter().chain((0..count * 2).map(|n| n as u8)).collect();
    assert_eq!(collector.push(&ascii_frame(*unit, &pdu)), Some(&pdu[..]), "the answer behind it is found");
}
