//! Tables for people: columns that align, numbers to the right, colour where it helps and is wanted.
//!
//! On a terminal a table is as wide as the terminal at most: the one column that may give way is cut with an ellipsis.
//! Elsewhere nothing is cut, because what is piped is read by programs. Colour is off without a terminal, and wherever
//! `NO_COLOR` is set.
use std::io::IsTerminal as _;

/// The width of a terminal that does not tell its own.
const USUAL_WIDTH: usize = 80;
/// Between two columns.
const GAP: &str = "  ";
/// The narrowest that a column is cut to.
const NARROWEST: usize = 8;

/// How stdout is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The widest a line may be; `None` where nothing is cut.
    pub width: Option<usize>,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Look {
    /// Without cuts and colours, as programs read it.
    pub const PLAIN: Self = Self {
        width: None,
        colour: false,
    };

    /// What stdout is now.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::PLAIN;
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let columns = size
            .map(|size| usize::from(size.ws_col))
            .filter(|width| *width > 0);
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: Some(columns.unwrap_or(USUAL_WIDTH)),
            colour: !set("NO_COLOR") && !dumb,
        }
    }

    /// `text` in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        match (self.colour, tone.code()) {
            (true, Some(code)) => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// What a text tells by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// It heads a column.
    Head,
    /// It is as it should be.
    Good,
    /// Somebody should look.
    Warn,
    /// Somebody must look.
    Bad,
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Head => Some("1"),
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    right: bool,
    gives_way: bool,
}

impl Column {
    /// Words.
    pub const fn text(head: &'static str) -> Self {
        Self {
            head,
            right: false,
            gives_way: false,
        }
    }

    /// Numbers: to the right.
    pub const fn number(head: &'static str) -> Self {
        Self {
            right: true,
            ..Self::text(head)
        }
    }

    /// Words that are cut when the line would be too long.
    pub const fn cut(head: &'static str) -> Self {
        Self {
            gives_way: true,
            ..Self::text(head)
        }
    }
}

/// A cell: its text and its tone.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// With a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::toned(value.to_string(), Tone::Plain)
    }
}

/// Rows under their heads.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row has a cell for each column"
        );
        self.rows.push(cells);
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines.
    pub fn render(&self, look: Look) -> String {
        let widths = self.widths(look.width);
        let heads: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell::toned(column.head, Tone::Head))
            .collect();
        std::iter::once(&heads)
            .chain(&self.rows)
            .map(|row| self.line(row, &widths, look))
            .collect()
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let widest = |index: usize| {
            let rows = self.rows.iter().map(|row| width(&row[index].text));
            rows.chain([width(self.columns[index].head)])
                .max()
                .unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let total = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let cut = self.columns.iter().position(|column| column.gives_way);
        if let (Some(limit), Some(cut)) = (limit, cut) {
            let over = total.saturating_sub(limit);
            widths[cut] = widths[cut].saturating_sub(over).max(NARROWEST.min(widths[cut]));
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], look: Look) -> String {
        let mut line = String::new();
        let last = row.len() - 1;
        for (index, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
            let text = shortened(&cell.text, widths[index]);
            let gap = " ".repeat(widths[index] - width(&text));
            let painted = look.paint(cell.tone, &text);
            match column.right {
                true => line.extend([gap, painted]),
                false if index == last => line.push_str(&painted),
                false => line.extend([painted, gap]),
            }
            if index < last {
                line.push_str(GAP);
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Names with their values, one under the other; what is longer than the terminal goes on below itself.
pub fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, Cell)>, look: Look) -> String {
    let rows: Vec<(&str, Cell)> = rows.into_iter().collect();
    let widest = rows.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
    rows.iter()
        .map(|(name, cell)| {
            let gap = " ".repeat(widest - width(name));
            let value = hanging(cell, widest + GAP.len(), look);
            format!("{name}{gap}{GAP}{value}\n")
        })
        .collect()
}

/// A text that begins in this column; what is longer than the terminal goes on below itself.
pub fn hanging(cell: &Cell, column: usize, look: Look) -> String {
    let room = look
        .width
        .map(|width| width.saturating_sub(column).max(NARROWEST));
    let lines = wrapped(&cell.text, room);
    let lines: Vec<String> = lines.iter().map(|line| look.paint(cell.tone, line)).collect();
    lines.join(&format!("\n{}", " ".repeat(column)))
}

/// Bytes as a person reads them: in the largest unit that leaves a whole part, to one place.
#[expect(clippy::cast_precision_loss, reason = "a size for people needs no last digit")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// How many columns a text takes; letters that are written over others are not told apart.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A text in lines of at most `room` columns, broken at spaces where there are some.
fn wrapped(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let space = usize::from(!line.is_empty());
            if width(line) + space + word.len() <= room {
                line.push_str(&" ".repeat(space));
                line.extend(&word);
                break;
            }
            if line.is_empty() {
                let rest = word.split_off(room);
                line.extend(&word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

fn shortened(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let kept: String = text.chars().take(to.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::text("VARIANT"),
            Column::cut("NAME"),
            Column::number("HELD"),
        ]);
        table.row(["123".into(), "Premium Aleppo Laurel Soap Set".into(), 3.into()]);
        table.row([
            "7".into(),
            "Cup".into(),
            Cell::toned("1200".to_owned(), Tone::Bad),
        ]);
        table
    }

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let wanted = "VARIANT  NAME                            HELD\n\
                      123      Premium Aleppo Laurel Soap Set     3\n\
                      7        Cup                             1200\n";
        assert_eq!(table().render(Look::PLAIN), wanted);
    }

    #[test]
    fn a_terminal_cuts_what_may_give_way_and_nothing_else() {
        let look = Look {
            width: Some(30),
            colour: false,
        };
        let wanted = "VARIANT  NAME             HELD\n\
                      123      Premium Aleppo…     3\n\
                      7        Cup              1200\n";
        assert_eq!(table().render(look), wanted);
        let narrow = Look {
            width: Some(5),
            colour: false,
        };
        assert!(table().render(narrow).contains("Premium…"));
    }

    #[test]
    fn colour_changes_no_width() {
        let look = Look {
            width: None,
            colour: true,
        };
        let painted = table().render(look);
        assert!(painted.contains("\x1b[31m1200\x1b[0m"), "{painted:?}");
        let bare = painted
            .replace("\x1b[31m", "")
            .replace("\x1b[1m", "")
            .replace("\x1b[0m", "");
        assert_eq!(bare, table().render(Look::PLAIN));
    }

    #[test]
    fn sizes_are_told_in_their_unit() {
        let told = [0, 1023, 1024, 1_572_864, 5 << 40].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
    }

    #[test]
    fn facts_align() {
        let told = facts([("log", "empty".into()), ("variants", 12.into())], Look::PLAIN);
        assert_eq!(told, "log       empty\nvariants  12\n");
        let narrow = Look {
            width: Some(20),
            colour: false,
        };
        let told = facts(
            [
                ("digest", "0123456789abcdef".into()),
                ("tags", "one two three".into()),
            ],
            narrow,
        );
        assert_eq!(
            told,
            "digest  0123456789ab\n        cdef\ntags    one two\n        three\n"
        );
    }
}
