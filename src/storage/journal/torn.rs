//! Torn or damaged: what bytes at the end of a log, which do not read as a group, say about how they came to be.
//!
//! A device writes a sector whole or not at all, in any order. A group that was never completed therefore lacks a sector, or
//! its end; a group all of whose sectors were written read well once, and may have been answered from. So:
//!
//! - a sector was written if it holds a part of the group that reads well (its header, a record whose checksum agrees, its end
//!   mark) and is more than the zeros that may have been there before, or, in a place that was filled with zeros before, any other byte;
//! - a group all of whose sectors were written is damaged, not torn.
//!
//! What looks torn to this rule may still be damage that emptied whole sectors, or, where no zeros were before, hit a record that
//! is longer than a sector. Nobody can tell that from the bytes; the record number that the stored rows have reached
//! ([`super::file::FileOptions::proven`]) and the group that follows can.
use std::ops::Range;

use super::format::{self, GroupHead, HEAD_BYTES};

const SECTOR_BYTES: u64 = 512;

/// What lay in a place before a group was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Zeros.
    Zeros,
    /// Nobody knows.
    Anything,
}

/// Whether every sector of the group at the beginning of `bytes`, which lie at `offset` of their file, was written.
pub(super) fn was_complete(bytes: &[u8], offset: u64, before: Before) -> bool {
    let (parts, end) = match GroupHead::decode(bytes) {
        Ok(head) if bytes.len() < head.group_bytes() => return false,
        Ok(head) => (format::good_parts(&head, bytes), head.group_bytes()),
        // Without a header only its own sectors are known. A write that broke off in it left nothing behind it.
        Err(_) if bytes.len() > HEAD_BYTES && !is_zero(&bytes[HEAD_BYTES..]) => (Vec::new(), HEAD_BYTES),
        Err(_) => return false,
    };
    // A write that broke off has not reached the end mark, whose last byte is no zero.
    if before == Before::Zeros && end > HEAD_BYTES && bytes[end - 1] == 0 {
        return false;
    }
    sectors(offset, end).all(|sector| {
        let reads_well = parts.iter().any(|part| proves(part, &sector, bytes));
        reads_well || (before == Before::Zeros && !is_zero(&bytes[sector]))
    })
}

/// Whether a part that reads well says that a sector it reaches into was written. Zeros at its edge do not: that is what is
/// there when nothing was. A sector that lies in the part whole has lost nothing, whatever happened to it.
fn proves(part: &Range<usize>, sector: &Range<usize>, bytes: &[u8]) -> bool {
    let shared = part.start.max(sector.start)..part.end.min(sector.end);
    !shared.is_empty() && (shared == *sector || !is_zero(&bytes[shared]))
}

/// The pieces of `0..end` that lie in one sector each.
fn sectors(offset: u64, end: usize) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let left = SECTOR_BYTES - (offset + begin as u64) % SECTOR_BYTES;
        let left = usize::try_from(left).expect("a sector fits into memory");
        let piece = begin..(begin + left).min(end);
        begin = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Whether all bytes are zero; compared in blocks, because an empty segment is read at every opening.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    behind_last(bytes).is_none()
}

/// Behind the last byte that is not zero.
pub(super) fn behind_last(bytes: &[u8]) -> Option<usize> {
    static ZEROS: [u8; 4_096] = [0; 4_096];
    let mut end = bytes.len();
    for block in bytes.rchunks(ZEROS.len()) {
        end -= block.len();
        if block != &ZEROS[..block.len()] {
            let last = block.iter().rposition(|byte| *byte != 0);
            return last.map(|last| end + last + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Anchor, Epoch, PartitionId, format::GroupBuilder};
    use super::*;

    /// A group of small records over several sectors.
    fn group() -> Vec<u8> {
        let mut builder = GroupBuilder::new(PartitionId(0), Epoch(1), &Anchor::GENESIS, 0);
        for number in 0..20 {
            builder.push(format!("a record of the house, {number}").as_bytes());
        }
        builder.finish(1).unwrap().bytes().to_vec()
    }

    #[test]
    fn a_changed_bit_is_damage_wherever_it_is() {
        let good = group();
        for offset in [4_096, 4_500, 5_000, 5_119] {
            for index in 0..good.len() {
                let mut bad = good.clone();
                bad[index] ^= 4;
                assert!(was_complete(&bad, offset, Before::Zeros), "{index} at {offset}");
                let knows_its_end = GroupHead::decode(&bad).is_ok();
                let stepped_over = index < 76 || {
                    let inside = (index - 76) % (good.len() - 76 - 40).div_ceil(20);
                    !(4..8).contains(&inside)
                };
                if knows_its_end && stepped_over && (good.len() as u64) < SECTOR_BYTES {
                    assert!(
                        was_complete(&bad, offset, Before::Anything),
                        "{index} at {offset}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missing_sector_or_end_is_a_torn_write() {
        let good = group();
        for offset in [4_096_u64, 4_500, 5_000, 5_119] {
            for sector in sectors(offset, good.len()) {
                let mut torn = good.clone();
                torn[sector.clone()].fill(0);
                assert!(
                    !was_complete(&torn, offset, Before::Zeros),
                    "{sector:?} at {offset}"
                );
                torn[sector.clone()].fill(0xA5);
                assert!(
                    !was_complete(&torn, offset, Before::Anything),
                    "{sector:?} at {offset}"
                );
            }
            for end in 0..good.len() {
                let mut torn = good.clone();
                torn[end..].fill(0);
                assert!(
                    !was_complete(&torn, offset, Before::Zeros),
                    "up to {end} at {offset}"
                );
            }
        }
    }

    /// Found by the crash states of a log in sled: the record's last bytes were zeros and lay in the sector that was lost.
    #[test]
    fn zeros_at_the_end_of_a_record_do_not_prove_the_sector_behind_them() {
        let mut builder = GroupBuilder::new(PartitionId(0), Epoch(1), &Anchor::GENESIS, 0);
        builder.push(&[[7; 40].as_slice(), [0; 40].as_slice()].concat());
        let good = builder.finish(1).unwrap().bytes().to_vec();
        for offset in 4_096..4_608 {
            for sector in sectors(offset, good.len()) {
                let mut torn = good.clone();
                torn[sector.clone()].fill(0);
                for before in [Before::Zeros, Before::Anything] {
                    assert!(!was_complete(&torn, offset, before), "{sector:?} at {offset}");
                }
            }
        }
    }

    #[test]
    fn the_last_byte_is_found_wherever_it_is() {
        let mut bytes = vec![0; 10_000];
        assert_eq!((behind_last(&bytes), behind_last(&[])), (None, None));
        for place in [9_999, 5_903, 5_904, 4_096, 1, 0] {
            bytes.fill(0);
            bytes[place] = 1;
            assert_eq!(behind_last(&bytes), Some(place + 1));
        }
    }
}
