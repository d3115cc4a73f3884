//! One JSON object a line. Empty lines are passed over.
use super::LINE_BYTES_MAX;
use super::line::{LineView, read};
use crate::app::{ImportLine, LineFault, NoLine};
use std::io::{self, BufRead};

/// The lines of a list.
pub(super) fn lines<'a>(
    reader: impl BufRead + Send + 'a,
    by: &'a str,
) -> impl Iterator<Item = Result<ImportLine, NoLine>> + Send + 'a {
    Lines {
        reader,
        by,
        number: 0,
        line: Vec::new(),
    }
}

struct Lines<'a, R> {
    reader: R,
    by: &'a str,
    number: u64,
    line: Vec<u8>,
}

/// How a line came in.
enum Taken {
    Whole,
    TooLong,
    End,
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = Result<ImportLine, NoLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.take() {
                Err(error) => return Some(Err(NoLine::Io(error))),
                Ok(Taken::End) => return None,
                Ok(Taken::TooLong) => {
                    let fault = LineFault {
                        line: self.number,
                        member: None,
                        problem: format!("longer than {LINE_BYTES_MAX} bytes"),
                        first_line: None,
                    };
                    return Some(Err(NoLine::Fault(fault)));
                }
                Ok(Taken::Whole) if self.line.trim_ascii().is_empty() => {}
                Ok(Taken::Whole) => {
                    return Some(read(self.number, &self.line, self.by).map_err(NoLine::Fault));
                }
            }
        }
    }
}

impl<R: BufRead> Lines<'_, R> {
    /// Takes the next line; of one that is too long no more than the limit is kept.
    fn take(&mut self) -> io::Result<Taken> {
        self.line.clear();
        let mut too_long = false;
        let mut begun = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() && !begun {
                return Ok(Taken::End);
            }
            if !begun {
                begun = true;
                self.number += 1;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(buffer.len(), |end| end + 1);
            too_long |= self.line.len() + part > LINE_BYTES_MAX;
            if !too_long {
                self.line.extend_from_slice(&buffer[..part]);
            }
            let ended = end.is_some() || buffer.is_empty();
            self.reader.consume(part);
            if ended {
                return Ok(if too_long { Taken::TooLong } else { Taken::Whole });
            }
        }
    }
}

/// One line with its end.
pub(super) fn write_line(line: &LineView<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("a line is plain data");
    out.push(b'\n');
}
