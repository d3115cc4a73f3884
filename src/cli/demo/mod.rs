//! `holdfast demo`: the demo shop, real articles of a British gift shop beside the goods of a Syrian market, made
//! repeatably in two steps.
//!
//! 1. `articles`: the published order lines (461,207 of them, UCI Online Retail, CC BY 4.0) become a list of articles:
//!    code, name, median price, units sold, season. The list is small and committed.
//! 2. `build`: the list, and a committed table of goods of our own, become variants, created by the domain's own rules,
//!    and a portable snapshot.
//!
//! Both steps read nothing but their inputs, so the same inputs give the same file; a test holds the committed snapshot
//! against that. From a clean clone:
//! ```text
//! holdfast demo build --articles tests/data/articles.csv --goods snapshots/demo-goods.toml --out snapshots/demo.holdfast
//! ```
pub mod articles;
pub mod goods;
pub mod names;
pub mod shelves;
pub mod shop;

use super::{Exit, Failure, Output};
use crate::storage::snapshot::{SnapshotError, Summary};
use articles::Article;
use clap::Subcommand;
use serde_json::json;
use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// The attribution that the licence of the data set (CC BY 4.0) asks for.
pub const ATTRIBUTION: &str = "Articles derived from: Daqing Chen, Online Retail, UCI Machine Learning Repository \
(2015), https://doi.org/10.24432/C5BW33, licensed under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). \
Changed: names tidied; median prices, stock, categories and tags derived.";

/// The committed snapshot, `snapshots/demo.holdfast`, so that a shop can be opened wherever the binary is run.
pub const SNAPSHOT: &[u8] = include_bytes!("../../../snapshots/demo.holdfast");

/// The two steps.
#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Derive the list of articles from the published order lines
    Articles {
        /// Order lines, CSV or CSV.gz
        #[arg(long, value_name = "FILE")]
        orders: PathBuf,
        /// The list to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Build the shop's snapshot from the list of articles and the table of goods
    Build {
        /// The list of articles
        #[arg(long, value_name = "FILE")]
        articles: PathBuf,
        /// The table of goods
        #[arg(long, value_name = "FILE")]
        goods: PathBuf,
        /// The snapshot to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Why the demo shop could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// As in "cannot ...".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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
    /// Two entries want to be the same variant, or one breaks a rule of the shop.
    #[error("variant {id}: {problem}")]
    Variant {
        /// Which.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// The snapshot cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

pub(super) fn run(command: &DemoCommand, output: Output) -> Result<(), Failure> {
    let failed = |error: DemoError| Failure::new(Exit::Failed, error.to_string());
    match command {
        DemoCommand::Articles { orders, out } => {
            let articles = derive(orders, out).map_err(failed)?;
            let text = || format!("{} articles in {}\n", articles.len(), out.display());
            output.data(text, &json!({ "articles": articles.len(), "file": out }))
        }
        DemoCommand::Build { articles, goods, out } => {
            let summary = build(articles, goods, out).map_err(failed)?;
            let (entities, bytes) = (&summary.counts.entities, summary.bytes);
            let value = json!({ "counts": entities, "bytes": bytes, "digest": summary.digest.to_string(), "file": out });
            let counts: Vec<String> = entities
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            let (counts, digest) = (counts.join(", "), summary.digest);
            let text = || format!("{counts} in {} ({bytes} bytes)\ndigest {digest}\n", out.display());
            output.data(text, &value)
        }
    }
}

/// Step 1, from file to file.
///
/// # Errors
/// [`DemoError`].
pub fn derive(orders: &Path, out: &Path) -> Result<Vec<Article>, DemoError> {
    let file = File::open(orders).map_err(|source| failed("open", orders, source))?;
    let packed = orders.extension().is_some_and(|extension| extension == "gz");
    let lines: Box<dyn Read> = if packed {
        Box::new(flate2::read::GzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(file)
    };
    let articles = articles::from_orders(lines)?;
    let mut list = Vec::new();
    articles::write(&articles, &mut list)
        .and_then(|()| fs::write(out, list))
        .map_err(|source| failed("write", out, source))?;
    Ok(articles)
}

/// Step 2, from files to the snapshot.
///
/// # Errors
/// [`DemoError`].
pub fn build(articles: &Path, goods: &Path, out: &Path) -> Result<Summary, DemoError> {
    let list = File::open(articles).map_err(|source| failed("open", articles, source))?;
    let table = fs::read_to_string(goods).map_err(|source| failed("read", goods, source))?;
    let shop = shop::Shop::new(&articles::read(list)?, &goods::Table::parse(&table)?)?;
    shop.write(out)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> DemoError {
    let path = path.to_owned();
    DemoError::File { doing, path, source }
}
