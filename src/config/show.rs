//! The table of `config print`: key, value, source.
use std::fmt::Write as _;

use serde::Serialize;

use super::{KEYS, Loaded, Source};

/// The width that names are padded to: the longest one fits.
const NAME_WIDTH: usize = 38;

/// The width that values are padded to; with it a line of ordinary values stays below 80 columns.
const VALUE_WIDTH: usize = 26;

/// One value as it is shown to operators.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The dotted key.
    pub key: &'static str,
    /// The canonical text; `***` for a secret that is set.
    pub value: String,
    /// `default`, `file`, `environment` or `flag`.
    pub source: &'static str,
    /// Which file or which variable, where that says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Loaded {
    /// Every key with its value and source; secrets are masked.
    pub fn rows(&self) -> Vec<Row> {
        let values = self.config.show();
        KEYS.iter()
            .zip(values)
            .zip(&self.sources)
            .map(|((key, value), source)| Row {
                key: key.name,
                value,
                source: source.word(),
                from: match source {
                    Source::File(path) => Some(path.display().to_string()),
                    Source::Environment(variable) => Some(variable.clone()),
                    Source::Default | Source::Flag => None,
                },
            })
            .collect()
    }

    /// The rows as an aligned table with a heading, one line each, a line feed after every line.
    pub fn table(&self) -> String {
        let mut table = format!("{:NAME_WIDTH$}  {:VALUE_WIDTH$}  SOURCE\n", "KEY", "VALUE");
        for row in self.rows() {
            writeln!(
                table,
                "{:NAME_WIDTH$}  {:VALUE_WIDTH$}  {}",
                row.key, row.value, row.source
            )
            .expect("a String takes every write");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn lines_of_defaults_stay_within_eighty_columns() {
        let loaded = Config::load(None, [], &[]).unwrap();
        for line in loaded.table().lines() {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }

    #[test]
    fn secrets_are_masked() {
        let variable = ("HOLDFAST__AUTH__ADMIN_KEY".to_owned(), "open sesame".to_owned());
        let loaded = Config::load(None, [variable], &[]).unwrap();
        let row = loaded
            .rows()
            .into_iter()
            .find(|row| row.key == "auth.admin_key")
            .unwrap();
        assert_eq!((row.value.as_str(), row.source), ("***", "environment"));
        assert!(!loaded.table().contains("sesame"));
        assert!(!format!("{loaded:?}").contains("sesame"));
    }
}
