//! Lines of bytes with their numbers, no longer than a line may be.
use super::LINE_BYTES_MAX;
use std::io::{self, BufRead};

/// Bytes as lines.
pub(super) struct RawLines<R> {
    reader: R,
    /// Of the line that was taken last, from 1.
    pub(super) number: u64,
}

/// How a line came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// With its end, unless it is the last.
    Whole,
    /// Passed over: not all of it was kept.
    TooLong,
    /// There is none.
    End,
}

impl<R: BufRead> RawLines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// Takes the next line behind what `kept` has, which stays within the limit.
    pub(super) fn take(&mut self, kept: &mut Vec<u8>) -> io::Result<Taken> {
        let mut taken = Taken::End;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok(taken);
            }
            if taken == Taken::End {
                taken = Taken::Whole;
                self.number += 1;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(buffer.len(), |end| end + 1);
            if kept.len() + part > LINE_BYTES_MAX {
                taken = Taken::TooLong;
            }
            if taken == Taken::Whole {
                kept.extend_from_slice(&buffer[..part]);
            }
            self.reader.consume(part);
            if end.is_some() {
                return Ok(taken);
            }
        }
    }
}

/// A line without its end.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
