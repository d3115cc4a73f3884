//! What the client saw: one line per answer, compact, for the checker.

use std::fmt;

/// A reservation's id: the 16 bytes behind `rsv_`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HoldId([u8; 16]);

impl HoldId {
    /// The id in 32 hex digits; `None` when they are not.
    pub(super) fn parse(hex: &[u8]) -> Option<HoldId> {
        let hex: &[u8; 32] = hex.try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(HoldId(bytes))
    }

    /// Appends the id as callers write it, `rsv_` and 32 hex digits.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.extend_from_slice(b"rsv_");
        for byte in self.0 {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

fn digit(hex: u8) -> Option<u8> {
    match hex {
        b'0'..=b'9' => Some(hex - b'0'),
        b'a'..=b'f' => Some(hex - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(36);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Hold one unit (one line of a bulk request is one of these too).
    Reserve,
    /// Confirm a hold.
    Confirm,
    /// Give a hold back.
    Release,
}

/// What became of it, as far as the client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered with success.
    Done,
    /// Refused: not enough stock.
    SoldOut,
    /// Refused: the hold had ended.
    Ended,
    /// Turned away for now (429, 503): nothing happened.
    Shed,
    /// No answer, or one that says so (connection lost, `outcome-unknown`): it may or may not have happened.
    Unknown,
    /// Any other answer; in these scenarios each is a fault of server or client.
    Unexpected,
}

/// One answer. Times are nanoseconds of the run's stopwatch. Every operation is about one unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// When the request should have left.
    pub(super) intended_ns: u64,
    /// When it left.
    pub(super) sent_ns: u64,
    /// When its answer was complete, or the client stopped hoping.
    pub(super) received_ns: u64,
    /// The hold it was about; `None` for a reserve that was not granted.
    pub(super) hold: Option<HoldId>,
    /// Index into the run's variants.
    pub(super) variant: u32,
    /// `expiresInMs` of a grant's answer.
    pub(super) ttl_ms: u32,
    /// HTTP status; 0 without an answer.
    pub(super) status: u16,
    /// What was asked.
    pub(super) operation: Operation,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// All answers of a run, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The lines.
    pub(super) entries: Vec<Entry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let text = b"0198f00dcafe7000800000000000abcd";
        let id = HoldId::parse(text).unwrap();
        assert_eq!(id.to_string(), "rsv_0198f00dcafe7000800000000000abcd");
        assert_eq!(HoldId::parse(&text[1..]), None);
        assert_eq!(HoldId::parse(b"0198f00dcafe700080000000000xabcd"), None);
    }

    #[test]
    fn a_line_stays_compact() {
        assert!(size_of::<Entry>() <= 56, "{} bytes a line", size_of::<Entry>());
    }
}
