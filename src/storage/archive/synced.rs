//! The sector that says up to where a file of the archive was synced; drawn at the module's head.
use crate::storage::journal::{disk::DiskFile, segment::GROUPS_AT};
use std::io;

/// Where it stands: in a sector of its own, so that writing it cannot harm the head.
const SYNCED_AT: u64 = 512;
const BYTES: usize = 12;

/// Writes it; durable with the next sync.
pub(super) fn write(file: &dyn DiskFile, end: u64) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&end.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(SYNCED_AT, &bytes)
}

/// Reads it. A mark that was half written proves nothing: then the first group begins what may not have been finished.
pub(super) fn read(file: &dyn DiskFile) -> io::Result<u64> {
    let mut bytes = [0; BYTES];
    file.read_at(SYNCED_AT, &mut bytes)?;
    let (end, crc) = bytes.split_at(8);
    let is_sound = crc32c::crc32c(end).to_le_bytes() == crc;
    let end = u64::from_le_bytes(end.try_into().expect("8 bytes"));
    Ok(if is_sound { end } else { GROUPS_AT })
}
