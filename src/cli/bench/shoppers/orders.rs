//! Reads a file of real orders (the columns of the *Online Retail* data set, plain or gzip) as what shoppers did.
//!
//! An invoice is an order; one whose number begins with `C` is a cancellation: its units come back. Lines that are neither
//! are left out and counted: adjustments (`A...`), lines without a price (corrections of the stock book), codes that do not
//! begin with five digits (postage, fees, vouchers).
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Why a file of orders cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is no order line.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the file tells, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// In file order.
    pub(super) invoices: Vec<Invoice>,
    /// Pence of each article, from its first line.
    pub(super) prices: BTreeMap<String, i64>,
    /// Lines that belong to an order or a cancellation.
    pub(super) lines: u64,
    /// Lines left out.
    pub(super) left_out: u64,
}

/// One invoice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invoice {
    /// Its number.
    pub(super) number: String,
    /// The customer; guests have none.
    pub(super) customer: Option<String>,
    /// Seconds since the start of the file's first day.
    pub(super) at_seconds: i64,
    /// The units come back.
    pub(super) cancels: bool,
    /// Article and units (never zero), in file order; an article may come twice.
    pub(super) lines: Vec<(String, u32)>,
}

/// Reads a file.
///
/// # Errors
/// [`OrdersError`] names file and line.
pub(super) fn read(path: &Path) -> Result<Orders, OrdersError> {
    let io = |source| OrdersError::Io {
        path: path.to_owned(),
        source,
    };
    let file = BufReader::new(File::open(path).map_err(io)?);
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    let text: Box<dyn Read> = if gzip {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    parse(text).map_err(|(line, reason)| OrdersError::Line {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// Line and reason of what is wrong.
type Wrong = (u64, String);

fn parse(text: impl Read) -> Result<Orders, Wrong> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().map_err(|error| (1, error.to_string()))?;
    let column = |name: &str| {
        let at = header.iter().position(|found| found == name);
        at.ok_or_else(|| (1, format!("column {name} is missing")))
    };
    let (invoice, code, quantity) = (column("invoice_no")?, column("stock_code")?, column("quantity")?);
    let (date, price, customer) = (
        column("invoice_date")?,
        column("unit_price")?,
        column("customer_id")?,
    );
    let mut orders = Orders::default();
    let mut first_day = None;
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| (error.position().map_or(0, csv::Position::line), error.to_string()))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default();
        let units: i64 = field(quantity)
            .parse()
            .map_err(|_| (line, "the quantity is no integer".to_owned()))?;
        let pence = pence(field(price)).ok_or_else(|| (line, "the price is no amount".to_owned()))?;
        let at: jiff::civil::DateTime = field(date)
            .parse()
            .map_err(|error: jiff::Error| (line, error.to_string()))?;
        let first_day = *first_day.get_or_insert(at.date().to_datetime(jiff::civil::Time::midnight()));
        let article = field(code).to_ascii_uppercase();
        let number = field(invoice);
        let cancels = number.starts_with('C');
        let is_article = article.len() >= 5 && article.bytes().take(5).all(|byte| byte.is_ascii_digit());
        let counts = if cancels { units < 0 } else { units > 0 };
        let units = u32::try_from(units.unsigned_abs()).ok();
        let (Some(units), true) = (
            units,
            is_article && counts && pence > 0 && !number.starts_with('A'),
        ) else {
            orders.left_out += 1;
            continue;
        };
        orders.lines += 1;
        orders.prices.entry(article.clone()).or_insert(pence);
        if orders.invoices.last().is_none_or(|last| last.number != number) {
            let since = at.duration_since(first_day).as_secs();
            orders.invoices.push(Invoice {
                number: number.to_owned(),
                customer: Some(field(customer).to_owned()).filter(|customer| !customer.is_empty()),
                at_seconds: since,
                cancels,
                lines: Vec::new(),
            });
        }
        let last = orders
            .invoices
            .last_mut()
            .expect("one was put there if there was none");
        last.lines.push((article, units));
    }
    Ok(orders)
}

/// Pence from pounds with up to three decimals, rounded half up.
fn pence(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (pounds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mills: i64 = format!("{decimals:0<3}").parse().ok()?;
    let pounds: i64 = pounds.parse().ok()?;
    Some(sign * (pounds.checked_mul(1000)?.checked_add(mills)? + 5) / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country\n";

    fn orders(lines: &str) -> Result<Orders, Wrong> {
        parse(format!("{HEAD}{lines}").as_bytes())
    }

    #[test]
    fn lines_of_one_invoice_are_one_order_and_the_rest_is_left_out() {
        let read = orders(
            "536365,85123a,HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n\
             536365,71053,LANTERN,2,2010-12-01T08:26:00,3.395,17850,United Kingdom\n\
             536365,POST,POSTAGE,1,2010-12-01T08:26:00,18,17850,United Kingdom\n\
             C536379,71053,LANTERN,-1,2010-12-02T09:00:01,3.39,,United Kingdom\n\
             536380,71053,damaged,-4,2010-12-02T09:00:02,0,,United Kingdom\n\
             A563185,71053,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,United Kingdom\n",
        )
        .unwrap();
        assert_eq!((read.lines, read.left_out, read.invoices.len()), (3, 3, 2));
        let [order, cancellation] = &read.invoices[..] else {
            panic!("two invoices")
        };
        assert_eq!(order.lines, [("85123A".to_owned(), 6), ("71053".to_owned(), 2)]);
        assert_eq!(
            (order.customer.as_deref(), order.at_seconds),
            (Some("17850"), 8 * 3600 + 26 * 60)
        );
        assert!(cancellation.cancels && cancellation.customer.is_none());
        assert_eq!(cancellation.at_seconds, 24 * 3600 + 9 * 3600 + 1);
        assert_eq!(read.prices["71053"], 340, "rounded half up, from its first line");
    }

    #[test]
    fn a_broken_line_is_named() {
        let (line, reason) = orders("536365,71053,X,six,2010-12-01T08:26:00,1,,UK\n").unwrap_err();
        assert_eq!((line, reason.as_str()), (2, "the quantity is no integer"));
        let (line, _) = orders("536365,71053,X,6,2010-12-01T08:26:00,1.23456,,UK\n").unwrap_err();
        assert_eq!(line, 2);
        assert_eq!(
            parse("a,b\n".as_bytes()).unwrap_err().1,
            "column invoice_no is missing"
        );
    }
}
