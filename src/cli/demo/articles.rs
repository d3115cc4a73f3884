//! Step 1: from order lines to articles.
//!
//! Cleaning as the data set's users do: cancellations (`C...`), adjustments (`A...`), lines without units or price, and
//! codes that do not begin with five digits are dropped; codes are read in upper case. An article needs
//! [`LINES_LEAST`] lines, since the name of a code that was sold once is as often a note as a name.
use super::{DemoError, names};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

/// An article is kept from this many order lines on.
pub const LINES_LEAST: usize = 3;

/// Units of one line that count at most. Wholesalers order thousands at once; a shelf is not planned for that.
const LINE_UNITS_MAX: u64 = 500;

/// A season tag needs this many lines in all,
const SEASON_LINES_LEAST: u64 = 24;
/// this share of them, in percent, in the season,
const SEASON_PERCENT: u64 = 45;
/// and this share in each of the others. The data covers one year only: what was not sold all year round may be new, or
/// cleared out.
const OTHER_SEASONS_PERCENT: u64 = 4;

/// One article, as the committed list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Article {
    /// The shop's stock code: five digits and up to two letters for the variant.
    pub code: String,
    /// Its most frequent description, tidied.
    pub name: String,
    /// Median over its order lines, pence.
    pub price_pence: u32,
    /// Units sold, large lines cut at 500.
    pub sold: u64,
    /// The season it sells in, if one stands out.
    pub season: Option<Season>,
}

/// A quarter of the year, as shoppers in the north know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Season {
    /// December to February.
    Winter,
    /// March to May.
    Spring,
    /// June to August.
    Summer,
    /// September to November.
    Autumn,
}

impl Season {
    const ALL: [Self; 4] = [Self::Winter, Self::Spring, Self::Summer, Self::Autumn];

    /// The tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Winter => "winter",
            Self::Spring => "spring",
            Self::Summer => "summer",
            Self::Autumn => "autumn",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|season| season.as_str() == text)
    }

    fn of_month(month: u8) -> Self {
        Self::ALL[usize::from(month % 12 / 3)]
    }
}

/// Reads order lines (CSV with the published header) and returns the articles in order of their codes.
///
/// # Errors
/// [`DemoError::Line`] for a line that is no order line at all.
pub fn from_orders(orders: impl Read) -> Result<Vec<Article>, DemoError> {
    let mut reader = csv::Reader::from_reader(orders);
    let columns = Columns::find(reader.headers().map_err(|error| broken(1, error))?)?;
    let mut sales: BTreeMap<String, Sales> = BTreeMap::new();
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| broken(error.position().map_or(0, csv::Position::line), &error))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        if let Some((code, sale)) = columns.sale(&record, line)? {
            sales.entry(code).or_default().add(sale);
        }
    }
    Ok(sales
        .into_iter()
        .filter_map(|(code, sales)| sales.article(code))
        .collect())
}

/// Where the columns are.
struct Columns {
    invoice: usize,
    code: usize,
    description: usize,
    quantity: usize,
    date: usize,
    price: usize,
}

/// One line that counts.
struct Sale<'a> {
    description: &'a str,
    units: u64,
    /// Tenths of a penny, as precise as the publication.
    price_mills: u32,
    season: Season,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self, DemoError> {
        let column = |name: &str| {
            let at = header.iter().position(|found| found == name);
            at.ok_or_else(|| broken(1, format!("column {name} is missing")))
        };
        Ok(Self {
            invoice: column("invoice_no")?,
            code: column("stock_code")?,
            description: column("description")?,
            quantity: column("quantity")?,
            date: column("invoice_date")?,
            price: column("unit_price")?,
        })
    }

    /// The sale behind a line; `None` for lines that the cleaning drops.
    fn sale<'a>(
        &self,
        record: &'a csv::StringRecord,
        line: u64,
    ) -> Result<Option<(String, Sale<'a>)>, DemoError> {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let quantity: i64 = field(self.quantity)
            .parse()
            .map_err(|_| broken(line, "the quantity is no integer"))?;
        let price = mills(field(self.price)).ok_or_else(|| broken(line, "the price is no amount"))?;
        let month = field(self.date).get(5..7).and_then(|month| month.parse().ok());
        let month = month
            .filter(|month| (1..=12).contains(month))
            .ok_or_else(|| broken(line, "the date is no date"))?;
        let code = field(self.code).to_ascii_uppercase();
        let (Ok(units), Ok(price_mills)) = (u64::try_from(quantity), u32::try_from(price)) else {
            return Ok(None);
        };
        let kept = !field(self.invoice).starts_with(['C', 'A'])
            && units > 0
            && price_mills > 0
            && code.len() >= 5
            && code.bytes().take(5).all(|byte| byte.is_ascii_digit());
        Ok(kept.then(|| {
            let sale = Sale {
                description: field(self.description),
                units,
                price_mills,
                season: Season::of_month(month),
            };
            (code, sale)
        }))
    }
}

/// Thousandths of a pound from up to three decimals.
fn mills(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (pounds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 {
        return None;
    }
    let pounds: i64 = pounds.parse().ok()?;
    let decimals: i64 = format!("{decimals:0<3}").parse().ok()?;
    Some(sign * (pounds.checked_mul(1000)? + decimals))
}

/// What is known of a code.
#[derive(Default)]
struct Sales {
    names: BTreeMap<String, u64>,
    prices_mills: Vec<u32>,
    units: u64,
    by_season: [u64; 4],
}

impl Sales {
    fn add(&mut self, sale: Sale<'_>) {
        *self.names.entry(sale.description.to_owned()).or_default() += 1;
        self.prices_mills.push(sale.price_mills);
        self.units += sale.units.min(LINE_UNITS_MAX);
        self.by_season[sale.season as usize] += 1;
    }

    fn article(mut self, code: String) -> Option<Article> {
        if self.prices_mills.len() < LINES_LEAST {
            return None;
        }
        // Among names used equally often the first in the alphabet, so that the choice is repeatable.
        let most = self.names.values().copied().max()?;
        let (name, _) = self.names.iter().find(|(_, lines)| **lines == most)?;
        let name = names::tidy(name)?;
        let price_mills = median(&mut self.prices_mills);
        Some(Article {
            code,
            name,
            price_pence: price_mills.div_ceil(10).max(1),
            sold: self.units,
            season: self.season(),
        })
    }

    fn season(&self) -> Option<Season> {
        let lines: u64 = self.by_season.iter().sum();
        let share = |season: Season| self.by_season[season as usize] * 100;
        let all_year = Season::ALL
            .into_iter()
            .all(|season| share(season) >= lines * OTHER_SEASONS_PERCENT);
        if lines < SEASON_LINES_LEAST || !all_year {
            return None;
        }
        Season::ALL
            .into_iter()
            .find(|season| share(*season) >= lines * SEASON_PERCENT)
    }
}

/// The middle value; of two middle ones their mean, rounded up.
fn median(values: &mut [u32]) -> u32 {
    values.sort_unstable();
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    low + (high - low).div_ceil(2)
}

const HEADER: [&str; 5] = ["code", "name", "price_pence", "sold", "season"];

/// Writes the list that is committed.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(articles: &[Article], out: impl Write) -> std::io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(HEADER)?;
    for article in articles {
        let (price, sold) = (article.price_pence.to_string(), article.sold.to_string());
        let season = article.season.map_or("", Season::as_str);
        writer.write_record([&article.code, &article.name, &price, &sold, season])?;
    }
    writer.flush()
}

/// Reads the committed list.
///
/// # Errors
/// [`DemoError::Line`] for a line that is none of [`write()`]'s.
pub fn read(list: impl Read) -> Result<Vec<Article>, DemoError> {
    let mut reader = csv::Reader::from_reader(list);
    let header = reader.headers().map_err(|error| broken(1, error))?;
    if *header != HEADER[..] {
        return Err(broken(1, format!("the header is not {}", HEADER.join(","))));
    }
    let articles = reader.into_records().map(|record| {
        let record =
            record.map_err(|error| broken(error.position().map_or(0, csv::Position::line), &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default();
        let season = match field(4) {
            "" => None,
            text => Some(Season::parse(text).ok_or_else(|| broken(line, "no such season"))?),
        };
        Ok(Article {
            code: field(0).to_owned(),
            name: field(1).to_owned(),
            price_pence: field(2)
                .parse()
                .map_err(|_| broken(line, "the price is no number"))?,
            sold: field(3)
                .parse()
                .map_err(|_| broken(line, "the units sold are no number"))?,
            season,
        })
    });
    articles.collect()
}

fn broken(line: u64, problem: impl ToString) -> DemoError {
    let problem = problem.to_string();
    DemoError::Line { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_lines_become_articles() {
        let orders = "\
invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country
536365,85123a,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom
536366,85123A,WHITE HANGING HEART T-LIGHT HOLDER,74000,2011-01-01T08:26:00,2.95,,France
C53637,85123A,WHITE HANGING HEART T-LIGHT HOLDER,-6,2011-01-01T08:26:00,2.55,,France
536368,85123A,wet damaged,-9,2011-01-01T08:26:00,0,,France
536369,85123A,CREAM HANGING HEART T-LIGHT HOLDER,1,2011-01-01T08:26:00,2.955,,France
536370,POST,POSTAGE,1,2011-01-01T08:26:00,18,,France
536371,21000,SOLD TWICE,1,2011-01-01T08:26:00,18,,France
536372,21000,SOLD TWICE,1,2011-01-01T08:26:00,18,,France
";
        let articles = from_orders(orders.as_bytes()).unwrap();
        let expected = Article {
            code: "85123A".to_owned(),
            name: "White Hanging Heart T-Light Holder".to_owned(),
            price_pence: 295,
            sold: 507,
            season: None,
        };
        assert_eq!(articles, [expected]);

        let mut list = Vec::new();
        write(&articles, &mut list).unwrap();
        assert_eq!(read(&list[..]).unwrap(), articles);
    }

    #[test]
    fn medians_and_amounts_round_the_same_way_everywhere() {
        assert_eq!(median(&mut [3, 1, 2]), 2);
        assert_eq!(median(&mut [4, 1, 2, 3]), 3);
        assert_eq!(median(&mut [u32::MAX, u32::MAX]), u32::MAX);
        assert_eq!(
            ["2.55", "18", "0.001", "-11062.06", "1.2345", "", "x"].map(mills),
            [
                Some(2550),
                Some(18_000),
                Some(1),
                Some(-11_062_060),
                None,
                None,
                None
            ]
        );
    }

    #[test]
    fn a_season_must_stand_out_from_a_whole_year() {
        let sales = |by_season| {
            Sales {
                by_season,
                ..Sales::default()
            }
            .season()
        };
        assert_eq!(sales([45, 31, 20, 4]), Some(Season::Winter));
        assert_eq!(sales([44, 32, 20, 4]), None, "it does not stand out");
        assert_eq!(sales([12, 6, 4, 1]), None, "too few lines");
        assert_eq!(sales([3, 10, 20, 67]), None, "perhaps it is only new");
        assert_eq!(Season::of_month(12), Season::Winter);
        assert_eq!(Season::of_month(11), Season::Autumn);
        assert_eq!(Season::of_month(3), Season::Spring);
    }

    #[test]
    fn a_broken_line_is_named() {
        let orders =
            "invoice_no,stock_code,description,quantity,invoice_date,unit_price\n1,21000,A,x,2011-01-01,1\n";
        assert_eq!(
            from_orders(orders.as_bytes()).unwrap_err().to_string(),
            "line 2: the quantity is no integer"
        );
        assert!(from_orders(&b"a,b\n1,2\n"[..]).is_err());
        assert!(read(&b"code,name\n"[..]).is_err());
    }
}
