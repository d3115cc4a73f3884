//! `holdfast snapshot`: portable snapshots of a server that runs, of a data directory that nobody uses, or in a file.
//!
//! What is written is read back and judged before it has its name; what is copied is verified first. Online commands take
//! `--url`, offline ones `--data-dir`, never both; `inspect`, `verify` and `export` take a file as well.
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::data_dir::{existing, lock, unreadable};
use super::online::{Place, segment, with_query};
use super::table::{Cell, Column, Look, Table, facts, size};
use super::verify::snapshot_file;
use super::{ConfigOptions, Exit, Failure, Output};
use crate::app::{WRITTEN_BY, recover_options};
use crate::clock::SystemClock;
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::http::view::SnapshotView;
use crate::storage::recovery::{CaptureAbout, CaptureError, CaptureTo, capture_directory};
use crate::storage::snapshot::{Manifest, Shelf, Shelved, SnapshotError, SnapshotReader, verify};

/// Where the server has them.
const COLLECTION: &str = "/api/admin/snapshots";
/// A large house takes its time, and says nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Snapshots asked for at once.
const PAGE: usize = 500;

/// The commands under `snapshot`.
#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Take a snapshot
    Create(PlaceOptions),
    /// List the snapshots, newest first
    List(PlaceOptions),
    /// Show what a snapshot says about itself
    Inspect(OneOptions),
    /// Read a whole snapshot: every checksum, every record replayed, every law
    Verify(OneOptions),
    /// Copy a snapshot to another place, verified
    Export(ExportOptions),
    /// Remove all but the newest snapshots
    Prune(PruneOptions),
}

/// Whose snapshots.
#[derive(Debug, Args)]
pub(super) struct PlaceOptions {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Which snapshot.
#[derive(Debug, Args)]
pub(super) struct OneOptions {
    /// A file, or the id of a snapshot of the place
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    #[command(flatten)]
    place: PlaceOptions,
}

/// What to copy, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportOptions {
    /// A file, or the id of a snapshot in the data directory
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// Data directory with the snapshot [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File or directory to write; a file that exists is not overwritten
    #[arg(long, value_name = "PATH")]
    into: PathBuf,
    #[command(flatten)]
    config: ConfigOptions,
}

/// How many to keep.
#[derive(Debug, Args)]
pub(super) struct PruneOptions {
    /// The newest that stay, at least one
    #[arg(long, value_name = "COUNT")]
    keep: NonZeroUsize,
    #[command(flatten)]
    place: PlaceOptions,
}

pub(super) fn run(command: &SnapshotCommand, output: Output) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(options) => create(options, output),
        SnapshotCommand::List(options) => list(options, output),
        SnapshotCommand::Inspect(options) => inspect(options, output),
        SnapshotCommand::Verify(options) => verify_one(options, output),
        SnapshotCommand::Export(options) => export(options, output),
        SnapshotCommand::Prune(options) => prune(options, output),
    }
}

fn create(options: &PlaceOptions, output: Output) -> Result<(), Failure> {
    let taking = working("taking a snapshot");
    let taken = match &options.place.data_dir {
        None => {
            let server = options.place.server()?.patient(PATIENCE);
            server.post(COLLECTION, &json!({}))?.json()?
        }
        Some(dir) => body(&create_offline(options, dir)?),
    };
    taking.finish_and_clear();
    show(&taken, output)?;
    let file = taken["file"].as_str().unwrap_or_default();
    output.next(&format!("holdfast snapshot verify {file}"));
    Ok(())
}

fn create_offline(options: &PlaceOptions, dir: &Path) -> Result<Shelved, Failure> {
    let loaded = existing(&options.config, Some(dir))?;
    let data_dir = lock(&loaded)?;
    let recover = recover_options(&loaded.config)
        .as_found(&data_dir)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let shelf = Shelf::new(data_dir.snapshots_dir());
    let about = CaptureAbout {
        written_by: WRITTEN_BY.to_owned(),
        created_at_ms: now().as_millis(),
        source: "Taken by an operator while no server ran.".to_owned(),
    };
    let taken = capture_directory(&data_dir, &recover, CaptureTo::Shelf(&shelf), &about);
    let taken = taken.map_err(|error| not_taken(error, dir))?;
    let id = taken.path.file_stem().and_then(|stem| stem.to_str());
    Ok(Shelved {
        id: id.unwrap_or_default().to_owned(),
        path: taken.path.clone(),
        bytes: taken.bytes,
        manifest: taken.manifest,
    })
}

fn not_taken(error: CaptureError, dir: &Path) -> Failure {
    match error {
        CaptureError::Open(error) => unreadable(&error, dir),
        CaptureError::Judge(error) => Failure::new(Exit::Damage, error.to_string())
            .next(format!("holdfast verify --data-dir {}", dir.display())),
        CaptureError::Snapshot(error) => broken(&error),
        CaptureError::Row(_) | CaptureError::Log(_) | CaptureError::Stopped => {
            Failure::failed(error.to_string())
        }
    }
}

/// The machine's time: no log is gone on with here.
fn now() -> Timestamp {
    let clock = SystemClock::start(None, true).expect("a clock without a log has no gap");
    clock.now()
}

/// All snapshots of a place, newest first, as the server shows them.
fn all(options: &PlaceOptions) -> Result<Vec<Value>, Failure> {
    if options.place.data_dir.is_none() {
        let server = options.place.server()?;
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let query = [("limit", Some(PAGE.to_string())), ("cursor", cursor)];
            let page = server.get(&with_query(COLLECTION, &query))?.json()?;
            items.extend(page["items"].as_array().into_iter().flatten().cloned());
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }
    let (shelf, mut items, mut after) = (shelf(options)?, Vec::new(), None);
    loop {
        let page = shelf.page(after.as_deref(), PAGE);
        let page = page.map_err(|error| Failure::failed(format!("cannot list the snapshots: {error}")))?;
        items.extend(page.items.iter().map(body));
        let told = |(id, error)| json!({ "id": id, "unreadable": SnapshotError::to_string(&error) });
        items.extend(page.unreadable.into_iter().map(told));
        after = page.next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// The snapshots of a data directory; they are files that anybody may read, so no lock is taken.
fn shelf(options: &PlaceOptions) -> Result<Shelf, Failure> {
    shelf_in(&options.config, options.place.data_dir.as_deref())
}

fn shelf_in(config: &ConfigOptions, dir: Option<&Path>) -> Result<Shelf, Failure> {
    let loaded = existing(config, dir)?;
    Ok(Shelf::of_data_dir(&loaded.config.data.dir))
}

fn list(options: &PlaceOptions, output: Output) -> Result<(), Failure> {
    let items = all(options)?;
    let text = || {
        let mut table = Table::new(&[
            Column::cut("SNAPSHOT"),
            Column::number("SIZE"),
            Column::number("VARIANTS"),
            Column::number("HOLDS"),
            Column::number("ORDERS"),
        ]);
        for item in &items {
            let count = |name: &str| {
                Cell::from(
                    item["counts"][name]
                        .as_u64()
                        .map_or(String::new(), |count| count.to_string()),
                )
            };
            table.row([
                word(&item["id"]).into(),
                Cell::from(item["bytes"].as_u64().map_or("unreadable".to_owned(), size)),
                count("variants"),
                count("reservations"),
                count("orders"),
            ]);
        }
        table.render(Look::of_stdout())
    };
    output.data(text, &json!({ "items": items }))
}

/// Where a snapshot is.
enum Found {
    File(PathBuf),
    Server(String),
}

fn find(options: &OneOptions) -> Result<Found, Failure> {
    let (given, place) = (&options.snapshot, &options.place);
    if given.is_file() {
        return Ok(Found::File(given.clone()));
    }
    let id = given.to_str().unwrap_or_default();
    if place.place.url.is_some() {
        return Ok(Found::Server(id.to_owned()));
    }
    in_shelf(&shelf_in(&place.config, place.place.data_dir.as_deref())?, given).map(Found::File)
}

/// The file of an id, or the file that was named.
fn in_shelf(shelf: &Shelf, given: &Path) -> Result<PathBuf, Failure> {
    let path = given.to_str().and_then(|id| shelf.path_of(id));
    let path = path.filter(|path| path.is_file());
    path.ok_or_else(|| Failure::failed(format!("there is no snapshot {}", given.display())))
}

fn inspect(options: &OneOptions, output: Output) -> Result<(), Failure> {
    match find(options)? {
        Found::Server(id) => show(&ask(options, "GET", &id)?, output),
        Found::File(path) => {
            let reader = SnapshotReader::open(&path).map_err(|error| broken(&error))?;
            let bytes = reader.bytes();
            let manifest = reader.manifest();
            let text = || about(manifest, bytes, Look::of_stdout());
            output.data(
                text,
                &json!({ "file": path, "bytes": bytes, "manifest": manifest }),
            )?;
            output.next(&format!("holdfast snapshot verify {}", path.display()));
            Ok(())
        }
    }
}

fn verify_one(options: &OneOptions, output: Output) -> Result<(), Failure> {
    match find(options)? {
        Found::Server(id) => {
            let reading = working("reading the snapshot");
            let verified = ask(options, "VERIFY", &id)?;
            reading.finish_and_clear();
            show(&verified, output)
        }
        Found::File(path) => snapshot_file(&path, output),
    }
}

fn ask(options: &OneOptions, what: &str, id: &str) -> Result<Value, Failure> {
    let server = options.place.place.server()?.patient(PATIENCE);
    let path = format!("{COLLECTION}/{}", segment(id));
    let answer = match what {
        "GET" => server.get(&path)?,
        _ => server.post(&format!("{path}/verify"), &json!({}))?,
    };
    if answer.status() == 422 {
        let refused = answer.ok().err();
        let message = refused.map_or(String::new(), |refused| refused.message);
        return Err(Failure::new(Exit::Damage, message));
    }
    answer.json()
}

fn export(options: &ExportOptions, output: Output) -> Result<(), Failure> {
    let from = match options.snapshot.is_file() {
        true => options.snapshot.clone(),
        false => in_shelf(
            &shelf_in(&options.config, options.data_dir.as_deref())?,
            &options.snapshot,
        )?,
    };
    let into = match (options.into.is_dir(), from.file_name()) {
        (true, Some(name)) => options.into.join(name),
        _ => options.into.clone(),
    };
    if into.exists() {
        let message = format!("{} exists and is not overwritten", into.display());
        return Err(Failure::new(Exit::Unsafe, message));
    }
    let copying = working("copying the snapshot");
    let bytes = copy(&from, &into)?;
    copying.finish_and_clear();
    let value = json!({ "from": from, "file": into, "bytes": bytes });
    output.data(|| format!("{} in {}\n", size(bytes), into.display()), &value)
}

/// Copies under a temporary name, verifies the copy, and gives it its name durably.
fn copy(from: &Path, into: &Path) -> Result<u64, Failure> {
    let mut name = into.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let copied = fs::copy(from, &partial).and_then(|_| File::open(&partial)?.sync_all());
    let copied = copied
        .map_err(|error| told(&partial, &error))
        .and_then(|()| verify(&partial).map_err(|error| broken(&error)));
    let named = copied.and_then(|summary| {
        let folder = into.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::rename(&partial, into)
            .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
            .map_err(|error| told(into, &error))?;
        Ok(summary.bytes)
    });
    if named.is_err() {
        // What is left of it is no snapshot; an error here hides no earlier one.
        let _ = fs::remove_file(&partial);
    }
    named
}

fn told(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}", path.display()))
}

fn prune(options: &PruneOptions, output: Output) -> Result<(), Failure> {
    let items = all(&options.place)?;
    let old: Vec<String> = items
        .iter()
        .skip(options.keep.get())
        .map(|item| word(&item["id"]))
        .collect();
    if options.place.place.data_dir.is_some() {
        let loaded = existing(&options.place.config, options.place.place.data_dir.as_deref())?;
        let _unused = lock(&loaded)?;
        let shelf = shelf(&options.place)?;
        for id in &old {
            shelf
                .remove(id)
                .map_err(|error| Failure::failed(format!("cannot remove {id}: {error}")))?;
        }
    } else {
        let server = options.place.place.server()?;
        for id in &old {
            server.delete(&format!("{COLLECTION}/{}", segment(id)))?.ok()?;
        }
    }
    let kept = items.len() - old.len();
    let text = || format!("removed {}, kept {kept}\n", old.len());
    output.data(text, &json!({ "removed": old, "kept": kept }))
}

/// A snapshot as the server shows it.
fn body(shelved: &Shelved) -> Value {
    serde_json::to_value(SnapshotView::from(shelved)).expect("a view is plain data")
}

fn show(snapshot: &Value, output: Output) -> Result<(), Failure> {
    let text = || {
        let counts = &snapshot["counts"];
        let rows = [
            ("snapshot", word(&snapshot["id"])),
            ("taken", word(&snapshot["createdAt"])),
            ("position", word(&snapshot["position"])),
            ("size", size(snapshot["bytes"].as_u64().unwrap_or_default())),
            ("variants", word(&counts["variants"])),
            ("reservations", word(&counts["reservations"])),
            ("carts", word(&counts["carts"])),
            ("orders", word(&counts["orders"])),
            ("digest", word(&snapshot["digest"])),
            ("verified", word(&snapshot["verified"])),
            ("file", word(&snapshot["file"])),
        ];
        facts(
            rows.map(|(name, value)| (name, Cell::from(value))),
            Look::of_stdout(),
        )
    };
    output.data(text, snapshot)
}

/// What a snapshot says about itself, for a person.
fn about(manifest: &Manifest, bytes: u64, look: Look) -> String {
    let moment = |ms| Moment(Timestamp::from_millis(ms)).to_string();
    let mut rows = vec![
        ("format", manifest.format.to_string()),
        ("written by", manifest.written_by.clone()),
        ("taken", moment(manifest.created_at_ms)),
        ("position", format!("{}-{}", manifest.epoch, manifest.position)),
    ];
    rows.extend(manifest.logged_at_ms.map(|ms| ("logged", moment(ms))));
    rows.push(("size", size(bytes)));
    let named = |name: &str, value: u64| (name.to_owned(), value.to_string());
    let counts = manifest.counts.entities.iter();
    let totals = manifest.totals.iter();
    let figures: Vec<_> = counts
        .chain(totals)
        .map(|(name, count)| named(name, *count))
        .collect();
    let records = manifest.counts.records.to_string();
    rows.push(("records", records));
    rows.extend(figures.iter().map(|(name, value)| (name.as_str(), value.clone())));
    rows.push(("digest", manifest.digest.clone()));
    rows.extend(
        manifest
            .state
            .as_ref()
            .map(|state| ("state digest", state.digest.clone())),
    );
    rows.push(("source", manifest.source.clone()));
    rows.extend(
        manifest
            .attribution
            .iter()
            .map(|told| ("attribution", told.clone())),
    );
    facts(
        rows.into_iter().map(|(name, value)| (name, Cell::from(value))),
        look,
    )
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Shown on a terminal only.
pub(super) fn working(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A file that cannot be used: damaged, of a later version, or out of reach.
fn broken(error: &SnapshotError) -> Failure {
    if let SnapshotError::Io { source, .. } = error {
        return Failure::failed(format!("{error}: {source}"));
    }
    let damage = matches!(
        error,
        SnapshotError::Damaged { .. } | SnapshotError::NotASnapshot { .. }
    );
    Failure::new(
        if damage { Exit::Damage } else { Exit::Failed },
        error.to_string(),
    )
}
