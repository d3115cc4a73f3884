//! Lists come back as they were written; any bytes are read without a panic and within bounds.
use super::*;
use crate::app::LineFault;
use crate::domain::money::{Currency, Money};
use crate::domain::time::Timestamp;
use crate::domain::variant::{Import, Level, ReservationMode, SaleState, Setting, Settings};
use proptest::prelude::*;
use proptest::{collection, option, sample::select};

fn read(format: Format, bytes: &[u8]) -> Vec<Result<ImportLine, LineFault>> {
    let lines = format.lines(bytes, "shop");
    lines
        .map(|line| match line {
            Ok(line) => Ok(line),
            Err(NoLine::Fault(fault)) => Err(fault),
            Err(NoLine::Io(error)) => panic!("{error}"),
        })
        .collect()
}

/// The faults of a list as `line member: problem`.
fn faults(format: Format, text: &str) -> Vec<String> {
    let faults = read(format, text.as_bytes()).into_iter().filter_map(Result::err);
    faults
        .map(|fault| {
            let member = fault.member.unwrap_or_else(|| "-".to_owned());
            format!("{} {member}: {}", fault.line, fault.problem)
        })
        .collect()
}

fn said(line: &Import) -> (Vec<Setting>, Option<Level>, Option<SaleState>) {
    (line.settings.clone(), line.level, line.sale)
}

fn text(max: usize) -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ,;\"=']{1,12}", "\\PC{1,12}"].prop_filter("within its limit", move |text| {
        text.len() <= max && !text.chars().any(char::is_control)
    })
}

fn sheet() -> impl Strategy<Value = Sheet> {
    let texts = (
        option::of(text(128)),
        option::of(text(128)),
        option::of(text(256)),
        option::of(text(128)),
        collection::vec(text(64), 0..4),
        collection::btree_map(text(64), text(256), 0..4),
    );
    let units = || 0..=1_000_000_000_000_u64;
    let figures = (
        option::of((0..=1_000_000_000_000_000_i64, select(vec!["USD", "EUR"]))),
        (units(), units(), units(), units()),
        option::of(1..=2_678_400_i64),
        option::of(1..=1_000_000_000_u32),
    );
    let rules = (
        select(vec![
            ReservationMode::OnCart,
            ReservationMode::OnCheckout,
            ReservationMode::Untracked,
        ]),
        select(vec![SaleState::Open, SaleState::Paused, SaleState::Draining]),
        option::of(0..=2_000_000_000_000_i64),
        option::of(2_000_000_000_001_i64..=4_000_000_000_000),
        any::<bool>(),
    );
    (texts, figures, rules).prop_map(|(texts, figures, rules)| {
        let (product_id, sku, name, category, tags, attributes) = texts;
        let (price, (on_hand, safety_stock, backorder_limit, low_stock_threshold), ttl, units) = figures;
        let (reservation_mode, sale, opens, closes, one_hold_per_customer) = rules;
        let settings = Settings {
            product_id,
            sku,
            name,
            category,
            tags,
            attributes,
            price: price.map(|(amount, currency)| Money {
                amount,
                currency: Currency::parse(currency).unwrap(),
            }),
            safety_stock,
            backorder_limit,
            reservation_mode,
            low_stock_threshold,
            opens_at: opens.map(Timestamp::from_millis),
            closes_at: closes.map(Timestamp::from_millis),
            one_hold_per_customer,
            hold_ttl_ms: ttl.map(|seconds| seconds * 1000),
            units_per_customer: units,
        };
        Sheet {
            settings,
            sale,
            on_hand,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// What is written is read as exactly what it says, and written again byte for byte.
    #[test]
    fn a_list_comes_back_as_it_was_written(
        sheets in collection::vec((text(128), sheet()), 0..6),
        format in select(Format::ALL.to_vec()),
        mark in any::<bool>(),
    ) {
        let mut list = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        format.write_head(&mut list);
        let mut again = list.clone();
        for (id, sheet) in &sheets {
            format.write_line(&VariantId::parse(id).unwrap(), sheet, &mut list);
        }
        let lines = read(format, &list);
        prop_assert_eq!(lines.len(), sheets.len());
        for (line, (id, sheet)) in lines.into_iter().zip(&sheets) {
            let line = line.map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
            prop_assert_eq!(line.variant.as_str(), id);
            let made = Sheet::created(&line.import).unwrap();
            prop_assert_eq!(&made, sheet);
            format.write_line(&line.variant, &made, &mut again);
        }
        prop_assert_eq!(again, list);
    }

    /// Any bytes: no panic, an end, and never more than the bounded line in memory (the bytes of a case are far fewer).
    #[test]
    fn any_bytes_are_read_to_an_end(
        bytes in collection::vec(any::<u8>(), 0..400),
        format in select(Format::ALL.to_vec()),
    ) {
        let lines = read(format, &bytes).len();
        prop_assert!(lines <= bytes.len() + 3);
    }

    /// The same behind a good header, and of bytes that mean something to either reader.
    #[test]
    fn nearly_good_bytes_are_read_to_an_end(
        parts in collection::vec(select(vec![
            "id", ",", "\"", "\r\n", "\n", "{", "}", ":", "onHand", "1", "-", "null", "\"id\":\"a\"", "[", "]", "é",
            "tags", "price", "price.amount", "\\u0000", " ",
        ]), 0..40),
        format in select(Format::ALL.to_vec()),
        headed in any::<bool>(),
    ) {
        let mut text = if headed { "id,onHand,tags\r\n".to_owned() } else { String::new() };
        text.extend(parts);
        read(format, text.as_bytes());
    }
}

#[test]
fn both_forms_say_the_same() {
    let csv = "id,sku,price.amount,price.currency,onHand,delta,saleState,closesAt,tags,attributes\r\n\
               1,A-1,2599,USD,7,,paused,,\"[\"\"a,b\"\"]\",\"{\"\"from\"\":\"\"Aleppo\"\"}\"\r\n\
               2,,,,,-3,,,,\r\n";
    let ndjson = "{\"id\":\"1\",\"sku\":\"A-1\",\"price\":{\"amount\":2599,\"currency\":\"USD\"},\"onHand\":7,\
                  \"saleState\":\"paused\",\"closesAt\":null,\"tags\":[\"a,b\"],\"attributes\":{\"from\":\"Aleppo\"}}\n\
                  {\"id\":2,\"sku\":null,\"price\":null,\"delta\":-3,\"closesAt\":null,\"tags\":[],\"attributes\":{}}\n";
    let told = |format, text: &str| -> Vec<_> {
        let lines = read(format, text.as_bytes()).into_iter().map(Result::unwrap);
        lines.map(|line| (line.variant, said(&line.import))).collect()
    };
    assert_eq!(told(Format::Csv, csv), told(Format::Ndjson, ndjson));
}

#[test]
fn what_is_not_mentioned_stays() {
    let lines = read(Format::Csv, b"id\n1\n");
    let line = lines[0].as_ref().unwrap();
    assert_eq!(said(&line.import), (Vec::new(), None, None));
    // Nothing can be cleared in these columns, so nothing is said.
    let lines = read(Format::Csv, b"id,onHand,safetyStock,oneHoldPerCustomer\n1,,,\n");
    let line = lines[0].as_ref().unwrap();
    assert_eq!(said(&line.import), (Vec::new(), None, None));
}

#[test]
fn marks_and_either_line_end_are_read() {
    for text in [
        "id,onHand\n1,2\n3,4\n",
        "id,onHand\r\n1,2\r\n3,4",
        "\u{feff}id,onHand\r\n1,2\n3,4\r\n",
    ] {
        let lines: Vec<_> = read(Format::Csv, text.as_bytes())
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.variant.as_str()))
            .collect();
        assert_eq!(told, [(2, "1"), (3, "3")], "{text:?}");
    }
    let text = "\u{feff}{\"id\":\"1\"}\r\n\r\n  \n{\"id\":\"3\"}";
    let lines: Vec<_> = read(Format::Ndjson, text.as_bytes())
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line.number, line.variant.as_str()))
        .collect();
    assert_eq!(told, [(1, "1"), (4, "3")]);
}

#[test]
fn a_header_that_means_nothing_here_is_told_whole() {
    assert_eq!(
        faults(Format::Csv, "sku,onhand,sku,price.amount\nA,1,A,5\n"),
        [
            "1 onhand: no such column, did you mean onHand?",
            "1 sku: the column is there twice",
            "1 id: the column is missing",
            "1 price.currency: the column is missing",
        ]
    );
    assert_eq!(
        faults(Format::Csv, ""),
        ["1 -: the file is empty; a header comes first"]
    );
    assert_eq!(faults(Format::Csv, "id\n"), [""; 0]);
}

#[test]
fn faults_of_a_list_are_told_by_line_and_member() {
    assert_eq!(
        faults(
            Format::Csv,
            "id,onHand,delta,price.amount,price.currency,tags\n\
             1,-1,,,,\n\
             2,1.5,,,,\n\
             3,1,2,,,\n\
             4,,,5,,\n\
             ,1,,,,\n\
             6,1,,5,usd,\n\
             7,1,,,,a;b\n\
             8,1\n\
             9,,,,,\"[1]\"\n"
        ),
        [
            "2 onHand: expected a whole number from 0 to 1000000000000",
            "3 onHand: expected a whole number from 0 to 1000000000000",
            "4 delta: expected onHand or delta, not both",
            "5 price.currency: expected a value; it is required",
            "6 id: expected a value; it is required",
            "7 price.currency: expected an ISO 4217 code of three capital letters",
            "8 tags: expected JSON in the cell",
            "9 -: 2 cells where the header has 6",
            "10 tags[0]: expected a text of 1 to 64 bytes without control characters",
        ]
    );
    assert_eq!(
        faults(
            Format::Ndjson,
            "{\"id\":1,\"onHnad\":1}\n[1]\n{\"id\":1\n{\"id\":\"a\",\"delta\":1,\"onHand\":2}\nnull\n\
             {\"id\":\"a\",\"opensAt\":\"2026-11-21T08:30:00Z\",\"closesAt\":\"2026-11-21T08:30:00Z\"}\n\
             {\"id\":\"b\",\"saleState\":\"closed\"}\n"
        ),
        [
            "1 onHnad: no such member, did you mean onHand?",
            "2 body: expected an object",
            "3 -: EOF while parsing an object at line 2 column 0",
            "4 delta: expected onHand or delta, not both",
            "5 body: expected an object",
            "6 closesAt: expected a moment after opensAt",
            "7 saleState: expected one of `open`, `paused`, `draining`",
        ]
    );
}

#[test]
fn bytes_that_are_no_text_are_told_by_line() {
    let told = |format, bytes: &[u8]| -> Vec<_> {
        let faults = read(format, bytes).into_iter().filter_map(Result::err);
        faults
            .map(|fault| (fault.line, fault.member, fault.problem))
            .collect()
    };
    assert_eq!(
        told(Format::Csv, b"id,name\n1,ok\n2,M\xfcller\n"),
        [(3, Some("name".to_owned()), "not UTF-8".to_owned())]
    );
    assert_eq!(
        told(Format::Ndjson, b"{\"id\":1}\n{\"id\":2,\"name\":\"M\xfcller\"}\n"),
        [(2, None, "not UTF-8 after 17 bytes".to_owned())]
    );
}

#[test]
fn quotes_are_where_they_may_be() {
    assert_eq!(
        faults(Format::Csv, "id,name\n1,\"ok\"\n2,5\" pipe\"\n3,\"a\"b\n4,a\"b\n"),
        [
            "3 -: a quote stands in a cell that is not quoted",
            "4 -: a quoted cell goes on behind its quote",
            "5 -: a quote is opened here and never closed",
        ]
    );
    assert_eq!(
        faults(Format::Csv, "id,name\n1,\"ok\"\n2,\"open\n3,c\n"),
        ["3 -: a quote is opened here and never closed"]
    );
    // A line end in quotes is part of its cell, and counted.
    assert_eq!(
        faults(Format::Csv, "id,name\r\n1,\"a\r\nb\"\r\n2,ok\r\n,x\r\n"),
        [
            "2 name: expected a text of 1 to 256 bytes without control characters",
            "5 id: expected a value; it is required",
        ]
    );
}

/// Gives out lines for ever, and counts their bytes.
struct Endless {
    begins: &'static [u8],
    given: Arc<std::sync::atomic::AtomicU64>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begins = std::mem::take(&mut self.begins);
        buffer[..begins.len()].copy_from_slice(begins);
        buffer[begins.len()..].fill(b'\n');
        let given = self
            .given
            .fetch_add(buffer.len() as u64, std::sync::atomic::Ordering::Relaxed);
        assert!(given < 1 << 20, "more is taken than a line may have");
        Ok(buffer.len())
    }
}

#[test]
fn a_record_that_never_ends_is_not_held_in_memory() {
    let endless = Endless {
        begins: b"id,name\n1,\"\n",
        given: Arc::default(),
    };
    let lines: Vec<_> = Format::Csv.lines(endless, "shop").collect();
    let [Err(NoLine::Fault(fault))] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(fault.line, 2);
    assert!(fault.problem.starts_with("longer than 262144 bytes"), "{fault:?}");
}

#[test]
fn a_line_that_is_too_long_is_passed_over() {
    let long = format!(
        "{{\"id\":\"{}\"}}\n{{\"id\":\"2\"}}\n{{}}\n",
        "x".repeat(LINE_BYTES_MAX)
    );
    assert_eq!(
        faults(Format::Ndjson, &long),
        [
            "1 -: longer than 262144 bytes",
            "3 id: expected a value; it is required"
        ]
    );
    let fits = format!("{{\"id\":\"1\"{}}}\n", " ".repeat(LINE_BYTES_MAX - 11));
    assert_eq!(fits.len(), LINE_BYTES_MAX, "the longest that is taken");
    assert_eq!(faults(Format::Ndjson, &fits), [""; 0]);
}
