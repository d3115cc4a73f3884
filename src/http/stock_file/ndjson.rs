//! One JSON object a line. Empty lines are passed over.
use super::line::{LineView, read};
use super::raw::{RawLines, Taken};
use super::{TOO_LONG, fault};
use crate::app::{ImportLine, NoLine};
use std::io::BufRead;

/// The lines of a list.
pub(super) fn lines<'a>(
    reader: impl BufRead + Send + 'a,
    by: &'a str,
) -> impl Iterator<Item = Result<ImportLine, NoLine>> + Send + 'a {
    let mut raw = RawLines::new(reader);
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            line.clear();
            match raw.take(&mut line) {
                Err(error) => return Some(Err(NoLine::Io(error))),
                Ok(Taken::End) => return None,
                Ok(Taken::TooLong) => {
                    return Some(Err(NoLine::Fault(fault(raw.number, None, TOO_LONG.to_owned()))));
                }
                Ok(Taken::Whole) if line.trim_ascii().is_empty() => {}
                Ok(Taken::Whole) => return Some(read(raw.number, &line, by).map_err(NoLine::Fault)),
            }
        }
    })
}

/// One line with its end.
pub(super) fn write_line(line: &LineView<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("a line is plain data");
    out.push(b'\n');
}
