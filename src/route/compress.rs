//! Compression of payloads. The only file that names zstd.

/// Good for the few KiB of a batch, where more effort saves under one per cent.
const LEVEL: i32 = 9;

/// The payload as one zstd frame (RFC 8878).
pub fn zstd(payload: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(payload, LEVEL).expect("compressing to memory fails only without memory")
}

/// What was compressed, up to `limit` bytes; `None` when it is no zstd frame, or larger.
pub fn unzstd(payload: &[u8], limit: usize) -> Option<Vec<u8>> {
    ::zstd::bulk::decompress(payload, limit).ok()
}
