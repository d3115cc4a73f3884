//! `holdfast export`: a shop's list out of a running server, or of a data directory that nobody uses.
//!
//! A file gets its name when it is whole: an export that breaks off leaves none.
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::import::{FormatWord, progress};
use super::nouns::{Source, failed};
use super::online::Place;
use super::{Exit, Failure, Output};
use crate::http::stock_file::Format;

/// Bytes copied at a time.
const PART_BYTES: usize = 64 * 1024;

/// What to export, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportOptions {
    /// The list's form [default: by the output's name, otherwise csv]
    #[arg(long, value_enum)]
    format: Option<FormatWord>,
    /// Where the list goes [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: &ExportOptions, output: Output) -> Result<(), Failure> {
    let format = FormatWord::of(options.format, options.output.as_deref()).unwrap_or(Format::Csv);
    let source = Source::at(&options.place, output)?;
    let Some(path) = &options.output else {
        let mut stdout = io::stdout().lock();
        return match write(source, format, &mut stdout, |_| ()) {
            // A reader that has closed its end wants no more.
            Err(Broken::Sink(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(broken) => Err(broken.told("stdout")),
            Ok(_) => Ok(()),
        };
    };
    let bar = progress(None, output);
    let written = whole(path, |file| write(source, format, file, |bytes| bar.inc(bytes)));
    bar.finish_and_clear();
    let bytes = written?;
    let told = json!({"file": path.display().to_string(), "bytes": bytes, "format": format.word()});
    output.data(|| format!("{} bytes in {}\n", bytes, path.display()), &told)
}

/// Why an export broke off.
enum Broken {
    Source(Failure),
    Sink(io::Error),
}

impl Broken {
    fn told(self, sink: &str) -> Failure {
        match self {
            Self::Source(failure) => failure,
            Self::Sink(error) => Failure::failed(format!("cannot write to {sink}: {error}")),
        }
    }
}

/// Writes a file that has its name only when it is whole and on the disk.
fn whole(path: &Path, write: impl FnOnce(&mut File) -> Result<u64, Broken>) -> Result<u64, Failure> {
    let name = path.display().to_string();
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let sink = |error| Broken::Sink(error).told(&name);
    let mut file = File::create(&partial).map_err(sink)?;
    let written = write(&mut file).and_then(|bytes| {
        file.sync_all().map_err(Broken::Sink)?;
        fs::rename(&partial, path).map_err(Broken::Sink)?;
        Ok(bytes)
    });
    written.map_err(|broken| {
        // What is half written is of no use; that it stays behind is no second failure.
        let _ = fs::remove_file(&partial);
        broken.told(&name)
    })
}

fn write(source: Source, format: Format, sink: &mut impl Write, wrote: impl Fn(u64)) -> Result<u64, Broken> {
    let mut total = 0;
    let mut put = |part: &[u8]| {
        sink.write_all(part).map_err(Broken::Sink)?;
        total += part.len() as u64;
        wrote(part.len() as u64);
        Ok(())
    };
    match source {
        Source::Server(server) => {
            let path = format!("/api/stock/export?format={}", format.word());
            let answer = server.get(&path).and_then(super::online::Answer::ok);
            let mut body = answer.map_err(Broken::Source)?.into_reader();
            let mut part = vec![0; PART_BYTES];
            loop {
                let read = body.read(&mut part).map_err(|error| {
                    let told = format!("the export broke off: {error}");
                    Broken::Source(Failure::new(Exit::Unreachable, told))
                })?;
                if read == 0 {
                    break;
                }
                put(&part[..read])?;
            }
        }
        Source::House(house) => {
            let mut part = Vec::new();
            format.write_head(&mut part);
            for sheet in house.sheets() {
                let (id, sheet) = sheet.map_err(|error| Broken::Source(failed(&error)))?;
                format.write_line(&id, &sheet, &mut part);
                if part.len() >= PART_BYTES {
                    put(&part)?;
                    part.clear();
                }
            }
            put(&part)?;
        }
    }
    sink.flush().map_err(Broken::Sink)?;
    Ok(total)
}
