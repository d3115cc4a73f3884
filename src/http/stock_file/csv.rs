//! Comma-separated values as RFC 4180 has them: a header, quotes where needed, lines that end with CR LF (LF alone is read
//! too).
//!
//! A record is turned into the JSON object of the same line, so that a member has one meaning, one set of limits and one
//! wording of its faults in both forms. Tags and attributes stand in their cells as JSON, because any text can be a tag.
use super::line::{LineView, read, unknown};
use super::{BUFFER_BYTES, LINE_BYTES_MAX};
use crate::app::{ImportLine, LineFault, NoLine};
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator, WriterBuilder};
use serde::de::IgnoredAny;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
const COLUMNS: [(&str, Cells); 21] = [
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
    reader: impl Read + Send + 'a,
    by: &'a str,
) -> impl Iterator<Item = Result<ImportLine, NoLine>> + Send + 'a {
    let watch = Arc::new(Watch::default());
    let watched = Watched {
        reader,
        watch: Arc::clone(&watch),
        passed: 0,
    };
    let records = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(watched);
    Lines {
        records,
        watch,
        by,
        header: None,
        record: ByteRecord::new(),
        last: 1,
        waiting: VecDeque::new(),
        over: false,
    }
}

struct Lines<'a, R> {
    records: Reader<Watched<R>>,
    watch: Arc<Watch>,
    by: &'a str,
    header: Option<Vec<(&'static str, Cells)>>,
    record: ByteRecord,
    /// The line of the last record.
    last: u64,
    /// Faults to be told next.
    waiting: VecDeque<LineFault>,
    over: bool,
}

impl<R: Read> Iterator for Lines<'_, R> {
    type Item = Result<ImportLine, NoLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(fault) = self.waiting.pop_front() {
                return Some(Err(NoLine::Fault(fault)));
            }
            if self.over {
                return None;
            }
            self.watch.allow(self.records.position().byte());
            match self.records.read_byte_record(&mut self.record) {
                Err(error) => return Some(Err(self.broken(error))),
                Ok(false) => self.end(),
                Ok(true) => {
                    self.last = self.record.position().map_or(self.last, |at| at.line());
                    if let Some(header) = &self.header {
                        let line = line(header, &self.record, self.last, self.by);
                        return Some(line.map_err(NoLine::Fault));
                    }
                    self.read_header();
                }
            }
        }
    }
}

impl<R: Read> Lines<'_, R> {
    fn broken(&mut self, error: csv::Error) -> NoLine {
        self.over = true;
        if self.watch.tripped.load(Ordering::Relaxed) {
            let told = format!(
                "longer than {LINE_BYTES_MAX} bytes from here on; is a quote opened and never closed?"
            );
            return NoLine::Fault(fault(self.records.position().line(), None, told));
        }
        NoLine::Io(error.into())
    }

    /// Nothing comes any more.
    fn end(&mut self) {
        self.over = true;
        if self.header.is_none() {
            self.waiting.push_back(fault(
                1,
                None,
                "the file is empty; a header comes first".to_owned(),
            ));
        } else if self.watch.quotes.load(Ordering::Relaxed) % 2 == 1 {
            let told = "the number of quotes in the file is odd: one is opened and never closed, or stands in a cell that \
                        is not quoted";
            self.waiting.push_back(fault(self.last, None, told.to_owned()));
        }
    }

    /// The first record names the columns. With one that means nothing here no line can be understood.
    fn read_header(&mut self) {
        let mut header = Vec::with_capacity(self.record.len());
        for name in &self.record {
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
            self.waiting.push_back(fault(self.last, Some(shown), told));
        }
        let has = |name: &str| header.iter().any(|(known, _)| *known == name);
        for (name, beside) in [
            ("id", ""),
            ("price.amount", "price.currency"),
            ("price.currency", "price.amount"),
        ] {
            if !has(name) && (beside.is_empty() || has(beside)) {
                let told = "the column is missing".to_owned();
                self.waiting
                    .push_back(fault(self.last, Some(name.to_owned()), told));
            }
        }
        self.over = !self.waiting.is_empty();
        self.header = Some(header);
    }
}

/// How much of an unknown column's name is repeated.
const NAME_CHARS_SHOWN: usize = 100;

fn fault(line: u64, member: Option<String>, problem: String) -> LineFault {
    LineFault {
        line,
        member,
        problem,
        first_line: None,
    }
}

fn line(
    header: &[(&'static str, Cells)],
    record: &ByteRecord,
    number: u64,
    by: &str,
) -> Result<ImportLine, LineFault> {
    if record.len() != header.len() {
        let told = format!("{} cells where the header has {}", record.len(), header.len());
        return Err(fault(number, None, told));
    }
    let mut object = Vec::with_capacity(2 * record.as_slice().len() + 64);
    object.push(b'{');
    let mut price = (None, None);
    for ((name, cells), cell) in header.iter().zip(record) {
        let refused = |told: &str| fault(number, Some((*name).to_owned()), told.to_owned());
        let cell = std::str::from_utf8(cell).map_err(|_| refused("not UTF-8"))?;
        match cells {
            Cells::Price(Half::Amount) => price.0 = Some(cell),
            Cells::Price(Half::Currency) => price.1 = Some(cell),
            Cells::Text
            | Cells::ClearableText
            | Cells::Number
            | Cells::ClearableNumber
            | Cells::Truth
            | Cells::Json(_) => {
                let json = json(*cells, cell).map_err(|NotJson| refused("expected JSON in the cell"))?;
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

/// What passes on its way to the reader of records: a record that never ends would be held in memory whole.
#[derive(Debug, Default)]
struct Watch {
    /// No byte beyond this one.
    limit: AtomicU64,
    /// It was reached.
    tripped: AtomicBool,
    quotes: AtomicU64,
}

impl Watch {
    /// A record begins at byte `at`.
    fn allow(&self, at: u64) {
        let limit = at + (LINE_BYTES_MAX + 2 * BUFFER_BYTES) as u64;
        self.limit.store(limit, Ordering::Relaxed);
    }
}

struct Watched<R> {
    reader: R,
    watch: Arc<Watch>,
    /// Bytes passed.
    passed: u64,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.passed > self.watch.limit.load(Ordering::Relaxed) {
            self.watch.tripped.store(true, Ordering::Relaxed);
            return Err(io::Error::other("a record is too long"));
        }
        let read = self.reader.read(buffer)?;
        self.passed += read as u64;
        let quotes = buffer[..read].iter().filter(|byte| **byte == b'"').count();
        self.watch.quotes.fetch_add(quotes as u64, Ordering::Relaxed);
        Ok(read)
    }
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
