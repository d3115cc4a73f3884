//! `holdfast man`: the manual, made of the same arguments that are parsed.
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use serde_json::json;

use super::{Arguments, Failure, Output};

/// Where to.
#[derive(Debug, Args)]
pub(super) struct ManOptions {
    /// Write one page for each command into this directory
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

pub(super) fn run(options: &ManOptions, output: Output) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    let Some(dir) = &options.into else {
        Output::bytes(&page(&command)?)?;
        output.next("holdfast man | man -l -");
        return Ok(());
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut pages = Vec::new();
    write(&command, dir, &mut pages)?;
    let told = || pages.iter().map(|page| format!("{page}\n")).collect();
    output.data(told, &json!({ "pages": pages }))?;
    output.next(&format!("man -l {}", dir.join("holdfast.1").display()));
    Ok(())
}

/// A command's page and those of the commands below it; each is named by its whole way, as `holdfast-wal-inspect`.
fn write(command: &Command, dir: &Path, pages: &mut Vec<String>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command)?).map_err(|error| failed(&path, &error))?;
    pages.push(path.display().to_string());
    command
        .get_subcommands()
        .try_for_each(|below| write(below, dir, pages))
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::failed(format!("cannot make the page: {error}")))?;
    Ok(page)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}", path.display()))
}
