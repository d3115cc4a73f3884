//! The demo shop: real articles of a British gift shop beside the goods of a Syrian market, made repeatably in two steps.
//!
//! 1. [`articles`]: the published order lines (461,207 of them, UCI Online Retail, CC BY 4.0) become a list of articles:
//!    code, name, median price, units sold, season. The list is small and committed.
//! 2. [`shop`]: the list, and a committed table of goods of our own, become variants, created by the domain's own rules.
//!
//! Both steps read nothing but their inputs, so the same inputs give the same file; a test holds the committed snapshot
//! against that.
pub mod articles;
pub mod goods;
pub mod names;
pub mod shelves;

/// The attribution that the licence of the data set (CC BY 4.0) asks for.
pub const ATTRIBUTION: &str = "Articles derived from: Daqing Chen, Online Retail, UCI Machine Learning Repository (2015), \
https://doi.org/10.24432/C5BW33, licensed under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). \
Changed: names tidied, median prices, stock, categories and tags derived.";

/// Why the demo shop could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A line of an input does not say what it should.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The table of goods cannot be read.
    #[error("the table of goods: {0}")]
    Goods(String),
}
