//! A list of what a shop sells as a file: one line a variant, everything that an import can set, nothing that sales
//! change but the units on hand. Written by an export, read by an import, and byte for byte the same after both.
//!
//! | file | what it is |
//! |---|---|
//! | [`line`] | a line: its members with their limits, what it means, how it is written |
//! | [`csv`] | RFC 4180 with a header; a record becomes the JSON object that [`line`] reads |
//! | [`ndjson`] | one JSON object a line |
//! | [`raw`] | lines of bytes, within the limit |
//!
//! What a line does not mention stays as it is. `null` clears what can be cleared; so does an empty cell, which says nothing
//! where nothing can be cleared. Both forms take a byte order mark and either line end. A reader holds one line in memory,
//! at most [`LINE_BYTES_MAX`].
mod csv;
mod line;
mod ndjson;
mod raw;

pub(crate) use line::LineView;

use crate::app::{ImportLine, ImportSource, LineFault, NoLine};
use crate::domain::ids::VariantId;
use crate::domain::variant::Sheet;
use crate::storage::spool::Spool;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

/// The longest line, bytes: beyond the longest that its members' limits allow, escapes included.
pub(crate) const LINE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(LINE_BYTES_MAX == 262_144, "the texts say so");
/// What is told of a line beyond that.
const TOO_LONG: &str = "longer than 262144 bytes";
/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 4180 with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// Both, the usual one first.
    pub(crate) const ALL: [Self; 2] = [Self::Csv, Self::Ndjson];

    /// The word in parameters and flags.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// The media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What stands before the first line.
    pub(crate) fn write_head(self, out: &mut Vec<u8>) {
        match self {
            Self::Csv => csv::write_head(out),
            Self::Ndjson => {}
        }
    }

    /// One line with its end.
    pub(crate) fn write_line(self, id: &VariantId, sheet: &Sheet, out: &mut Vec<u8>) {
        let line = LineView::new(id, sheet);
        match self {
            Self::Csv => csv::write_line(&line, out),
            Self::Ndjson => ndjson::write_line(&line, out),
        }
    }

    /// The lines of a list, for who asks as `by`.
    pub(crate) fn lines<'a>(
        self,
        reader: impl Read + Send + 'a,
        by: &'a str,
    ) -> Box<dyn Iterator<Item = Result<ImportLine, NoLine>> + Send + 'a> {
        let reader = match without_mark(reader) {
            Ok(reader) => reader,
            Err(error) => return Box::new(std::iter::once(Err(NoLine::Io(error)))),
        };
        match self {
            Self::Csv => Box::new(csv::lines(reader, by)),
            Self::Ndjson => Box::new(ndjson::lines(reader, by)),
        }
    }
}

fn fault(line: u64, member: Option<String>, problem: String) -> LineFault {
    LineFault {
        line,
        member,
        problem,
        first_line: None,
    }
}

/// Passes over a byte order mark.
fn without_mark<R: Read>(reader: R) -> io::Result<BufReader<R>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(reader)
}

/// A list that was laid down whole.
pub(crate) struct Spooled {
    /// Its bytes.
    pub(crate) spool: Spool,
    /// How they are read.
    pub(crate) format: Format,
    /// Who asks.
    pub(crate) by: Arc<str>,
}

impl ImportSource for Spooled {
    fn lines(&self) -> Box<dyn Iterator<Item = Result<ImportLine, NoLine>> + Send + '_> {
        self.format.lines(self.spool.reader(), &self.by)
    }
}

#[cfg(test)]
mod tests;
