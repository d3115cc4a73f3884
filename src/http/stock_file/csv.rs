//! Comma-separated values as RFC 4180 has them: a header, quotes where needed, lines that end with CR LF (LF alone is read
//! too).
//!
//! A record is turned into the JSON object of the same line, so that a member has one meaning, one set of limits and one
//! wording of its faults in both forms. Tags and attributes stand in their cells as JSON, because any text can be a tag.
use super::line::{LineView, read, unknown};
use super::raw::{RawLines, Taken, without_end};
use super::{TOO_LONG, fault};
use crate::app::{ImportLine, LineFault, NoLine};
use csv::{Terminator, WriterBuilder};
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::BufRead;

/// What is told of a record whose quote should have ended long before.
const TOO_LONG_IN_QUOTES: &str = "longer than 262144 bytes; is a quote opened here and never closed?";

/// A column: its name, and what its cells are.
type Column = (&'static str, Cells);

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    /// Texts; an empty cell says nothing.
    Text,
    /// Texts; an empty cell clears.
    ClearableText,
    /// Whole numbers; an empty cell says nothing.
    Number,
    /// Whole numbers; an empty cell clears.
    ClearableNumber,
    /// `true` or `false`; an empty cell says nothing.
    Truth,
    /// JSON; an empty cell stands for this.
    Json(&'static str),
    /// One half of the price.
    Price(Half),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Amount,
    Currency,
}

/// Every column, in the order in which they are written; `delta` is only read.
const COLUMNS: [Column; 21] = [
    ("id", Cells::Text),
    ("productId", Cells::ClearableText),
    ("sku", Cells::ClearableText),
    ("name", Cells::ClearableText),
    ("category", Cells::ClearableText),
    ("price.amount", Cells::Price(Half::Amount)),
    ("price.currency", Cells::Price(Half::Currency)),
    ("onHand", Cells::Number),
    ("delta", Cells::Number),
    ("safetyStock", Cells::Number),
    ("backorderLimit", Cells::Number),
    ("reservationMode", Cells::Text),
    ("saleState", Cells::Text),
    ("lowStockThreshold", Cells::Number),
    ("opensAt", Cells::ClearableText),
    ("closesAt", Cells::ClearableText),
    ("oneHoldPerCustomer", Cells::Truth),
    ("holdTtlSeconds", Cells::ClearableNumber),
    ("unitsPerCustomer", Cells::ClearableNumber),
    ("tags", Cells::Json("[]")),
    ("attributes", Cells::Json("{}")),
];

// --- reading ---

/// The lines of a list.
pub(super) fn lines<'a>(
    reader: impl BufRead + Send + 'a,
    by: &'a str,
) -> impl Iterator<Item = Result<ImportLine, NoLine>> + Send + 'a {
    Lines {
        raw: RawLines::new(reader),
        by,
        header: None,
        record: Vec::new(),
        waiting: VecDeque::new(),
        over: false,
    }
}

struct Lines<'a, R> {
    raw: RawLines<R>,
    by: &'a str,
    header: Option<Vec<Column>>,
    record: Vec<u8>,
    /// Faults to be told next.
    waiting: VecDeque<LineFault>,
    over: bool,
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = Result<ImportLine, NoLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(fault) = self.waiting.pop_front() {
                return Some(Err(NoLine::Fault(fault)));
            }
            if self.over {
                return None;
            }
            let number = match self.take() {
                Ok(Some(number)) => number,
                Ok(None) => {
                    self.over = true;
                    continue;
                }
                Err(error) => return Some(Err(error)),
            };
            let record = without_end(&self.record);
            if record.is_empty() {
                continue;
            }
            let cells = match cells(record) {
                Ok(cells) => cells,
                Err(told) => return Some(Err(NoLine::Fault(fault(number, None, told.to_owned())))),
            };
            match &self.header {
                Some(header) => return Some(line(header, &cells, number, self.by).map_err(NoLine::Fault)),
                None => {
                    let (header, faults) = header(&cells, number);
                    self.over = !faults.is_empty();
                    (self.header, self.waiting) = (Some(header), faults);
                }
            }
        }
    }
}

impl<R: BufRead> Lines<'_, R> {
    /// Takes the next record whole, with the line ends that stand in quotes; tells the line it begins on.
    fn take(&mut self) -> Result<Option<u64>, NoLine> {
        self.record.clear();
        let (mut begins, mut is_open) = (None, false);
        loop {
            let seen = self.record.len();
            let taken = self.raw.take(&mut self.record)?;
            let number = *begins.get_or_insert(self.raw.number);
            let told = match taken {
                Taken::End if is_open => "a quote is opened here and never closed",
                Taken::End if self.header.is_none() => "the file is empty; a header comes first",
                Taken::End => return Ok(None),
                // Where the quote should end nobody knows, nor what stands behind it.
                Taken::TooLong if is_open => TOO_LONG_IN_QUOTES,
                Taken::TooLong => return Err(NoLine::Fault(fault(number, None, TOO_LONG.to_owned()))),
                Taken::Whole => {
                    let quotes = self.record[seen..].iter().filter(|byte| **byte == b'"').count();
                    is_open ^= quotes % 2 == 1;
                    if is_open {
                        continue;
                    }
                    return Ok(Some(number));
                }
            };
            self.over = true;
            return Err(NoLine::Fault(fault(number.max(1), None, told.to_owned())));
        }
    }
}

/// The first record names the columns. With one that means nothing here no line can be understood.
fn header(names: &[Cow<'_, [u8]>], number: u64) -> (Vec<Column>, VecDeque<LineFault>) {
    let mut header: Vec<Column> = Vec::with_capacity(names.len());
    let mut faults = VecDeque::new();
    for name in names {
        let name = String::from_utf8_lossy(name);
        let told = match COLUMNS.iter().find(|(known, _)| *known == name) {
            None => unknown("column", &name),
            Some(column) if header.contains(column) => "the column is there twice".to_owned(),
            Some(column) => {
                header.push(*column);
                continue;
            }
        };
        let shown = name.chars().take(NAME_CHARS_SHOWN).collect();
        faults.push_back(fault(number, Some(shown), told));
    }
    let has = |name: &str| header.iter().any(|(known, _)| *known == name);
    for (name, beside) in [
        ("id", None),
        ("price.amount", Some("price.currency")),
        ("price.currency", Some("price.amount")),
    ] {
        if !has(name) && beside.is_none_or(has) {
            let told = "the column is missing".to_owned();
            faults.push_back(fault(number, Some(name.to_owned()), told));
        }
    }
    (header, faults)
}

/// The cells of a record.
fn cells(record: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, &'static str> {
    let mut cells = Vec::new();
    let mut rest = record;
    loop {
        let behind = if let Some(quoted) = rest.strip_prefix(b"\"") {
            let (cell, behind) = quoted_cell(quoted).ok_or("a quote is opened here and never closed")?;
            cells.push(cell);
            behind
        } else {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            let (cell, behind) = rest.split_at(end);
            if cell.contains(&b'"') {
                return Err("a quote stands in a cell that is not quoted");
            }
            cells.push(Cow::Borrowed(cell));
            behind
        };
        match behind.split_first() {
            None => return Ok(cells),
            Some((b',', behind)) => rest = behind,
            Some(_) => return Err("a quoted cell goes on behind its quote"),
        }
    }
}

/// A cell whose first quote was taken, and what stands behind its last.
fn quoted_cell(quoted: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut cell = Vec::new();
    let mut rest = quoted;
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        cell.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        let Some(behind) = rest.strip_prefix(b"\"") else {
            return Some((Cow::Owned(cell), rest));
        };
        cell.push(b'"');
        rest = behind;
    }
}

/// How much of an unknown column's name is repeated.
const NAME_CHARS_SHOWN: usize = 100;

fn line(header: &[Column], cells: &[Cow<'_, [u8]>], number: u64, by: &str) -> Result<ImportLine, LineFault> {
    if cells.len() != header.len() {
        let told = format!("{} cells where the header has {}", cells.len(), header.len());
        return Err(fault(number, None, told));
    }
    let mut object = vec![b'{'];
    let mut price = (None, None);
    for ((name, of), cell) in header.iter().zip(cells) {
        let refused = |told: &str| fault(number, Some((*name).to_owned()), told.to_owned());
        let cell = std::str::from_utf8(cell).map_err(|_| refused("not UTF-8"))?;
        match of {
            Cells::Price(Half::Amount) => price.0 = Some(cell),
            Cells::Price(Half::Currency) => price.1 = Some(cell),
            Cells::Text
            | Cells::ClearableText
            | Cells::Number
            | Cells::ClearableNumber
            | Cells::Truth
            | Cells::Json(_) => {
                let json = json(*of, cell).map_err(|NotJson| refused("expected JSON in the cell"))?;
                if let Some(json) = json {
                    member(&mut object, name, &json);
                }
            }
        }
    }
    match price {
        (Some(""), Some("")) => member(&mut object, "price", "null"),
        (Some(amount), Some(currency)) => {
            let mut both = vec![b'{'];
            for (name, cell, cells) in [
                ("amount", amount, Cells::Number),
                ("currency", currency, Cells::Text),
            ] {
                if let Ok(Some(json)) = json(cells, cell) {
                    member(&mut both, name, &json);
                }
            }
            both.push(b'}');
            member(&mut object, "price", &String::from_utf8_lossy(&both));
        }
        (_, _) => {}
    }
    object.push(b'}');
    read(number, &object, by)
}

fn member(object: &mut Vec<u8>, name: &str, json: &str) {
    if object.len() > 1 {
        object.push(b',');
    }
    object.extend_from_slice(format!("\"{name}\":").as_bytes());
    object.extend_from_slice(json.as_bytes());
}

struct NotJson;

/// A cell as JSON; `None` when it says nothing. What is no number or truth stays a text, which the member then refuses by
/// saying what it expected.
fn json(cells: Cells, cell: &str) -> Result<Option<String>, NotJson> {
    let text = || Some(serde_json::Value::from(cell).to_string());
    let number = || {
        if is_whole(cell) {
            Some(cell.to_owned())
        } else {
            text()
        }
    };
    Ok(match cells {
        Cells::Text | Cells::Number | Cells::Truth if cell.is_empty() => None,
        Cells::ClearableText | Cells::ClearableNumber if cell.is_empty() => Some("null".to_owned()),
        Cells::Json(empty) if cell.is_empty() => Some(empty.to_owned()),
        Cells::Text | Cells::ClearableText | Cells::Price(..) => text(),
        Cells::Number | Cells::ClearableNumber => number(),
        Cells::Truth if matches!(cell, "true" | "false") => Some(cell.to_owned()),
        Cells::Truth => text(),
        Cells::Json(_) => {
            serde_json::from_str::<IgnoredAny>(cell).map_err(|_| NotJson)?;
            Some(cell.to_owned())
        }
    })
}

/// Whether JSON has this as a whole number.
fn is_whole(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0'))
}

// --- writing ---

/// The header.
pub(super) fn write_head(out: &mut Vec<u8>) {
    let names = COLUMNS.iter().map(|(name, _)| *name);
    write(names.filter(|name| *name != "delta"), out);
}

/// One record.
pub(super) fn write_line(line: &LineView<'_>, out: &mut Vec<u8>) {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let moment = |at: Option<crate::http::time::Moment>| at.map(|at| at.to_string()).unwrap_or_default();
    let json = |json: serde_json::Result<String>| json.expect("texts are plain data");
    let price = line.price.as_ref();
    let cells = [
        line.id.to_owned(),
        text(line.product_id),
        text(line.sku),
        text(line.name),
        text(line.category),
        price.map(|price| price.amount.to_string()).unwrap_or_default(),
        price.map(|price| price.currency.clone()).unwrap_or_default(),
        number(Some(line.on_hand)),
        number(Some(line.safety_stock)),
        number(Some(line.backorder_limit)),
        line.reservation_mode.to_owned(),
        line.sale_state.to_owned(),
        number(Some(line.low_stock_threshold)),
        moment(line.opens_at),
        moment(line.closes_at),
        line.one_hold_per_customer.to_string(),
        line.hold_ttl_seconds
            .map(|seconds| seconds.to_string())
            .unwrap_or_default(),
        number(line.units_per_customer.map(u64::from)),
        if line.tags.is_empty() {
            String::new()
        } else {
            json(serde_json::to_string(line.tags))
        },
        if line.attributes.is_empty() {
            String::new()
        } else {
            json(serde_json::to_string(line.attributes))
        },
    ];
    write(cells.iter().map(String::as_str), out);
}

fn write<'a>(cells: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
    writer.write_record(cells).expect("memory takes what is written");
    writer.flush().expect("memory takes what is written");
}
