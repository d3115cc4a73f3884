//! The data directory as an offline command meets it: it must exist, nobody may use it, and what is wrong with it has an
//! exit code.
use std::path::Path;

use super::{ConfigOptions, Exit, Failure};
use crate::app::{OpenError, chain};
use crate::config::Loaded;
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::recovery::RecoverError;

/// Loads the configuration, with `dir` over `data.dir`, and makes sure that there is a data directory: a command that only
/// looks must not begin one.
pub(super) fn existing(config: &ConfigOptions, dir: Option<&Path>) -> Result<Loaded, Failure> {
    let flag = dir.map(|dir| Ok::<_, Failure>(("data.dir".to_owned(), text_of(dir)?)));
    let loaded = config.load(flag.transpose()?)?;
    let dir = &loaded.config.data.dir;
    if !DataDir::is_begun(dir) {
        let message = format!("there is no data directory {}", dir.display());
        return Err(Failure::failed(message).next(format!("holdfast serve --data-dir {}", dir.display())));
    }
    Ok(loaded)
}

/// Locks the configured data directory.
pub(super) fn lock(loaded: &Loaded) -> Result<DataDir, Failure> {
    DataDir::open(&loaded.config.data.dir).map_err(|error| unusable(&error))
}

/// Why a data directory cannot be used.
fn unusable(error: &DataDirError) -> Failure {
    let code = match error {
        DataDirError::Locked { .. } => Exit::Locked,
        DataDirError::Foreign { .. } => Exit::Unsafe,
        DataDirError::Damaged { .. } => Exit::Damage,
        DataDirError::Disk(_) => Exit::Failed,
    };
    Failure::new(code, chain(error))
}

/// Why rows or log could not be read.
pub(super) fn unreadable(error: &RecoverError, dir: &Path) -> Failure {
    let code = if error.is_damage() {
        Exit::Damage
    } else {
        Exit::Failed
    };
    let failure = Failure::new(code, chain(error));
    match error.remedy() {
        Some(remedy) => failure.next(remedy.command(dir)),
        None => failure,
    }
}

/// Why a house could not be opened, with the command that helps.
pub(super) fn failed_to_open(error: &OpenError, dir: &Path) -> Failure {
    let code = match error {
        OpenError::DataDir(DataDirError::Locked { .. }) => Exit::Locked,
        OpenError::DataDir(DataDirError::Foreign { .. }) | OpenError::Clock(_) => Exit::Unsafe,
        OpenError::DataDir(DataDirError::Damaged { .. }) => Exit::Damage,
        OpenError::Recovery(error) if error.is_damage() => Exit::Damage,
        OpenError::Seed(error) if error.is_damage() => Exit::Damage,
        OpenError::DataDir(DataDirError::Disk(_))
        | OpenError::Disk(_)
        | OpenError::Recovery(_)
        | OpenError::Seed(_)
        | OpenError::Thread(_) => Exit::Failed,
    };
    let failure = Failure::new(code, chain(error));
    let remedy = match error {
        OpenError::Recovery(error) => error.remedy(),
        OpenError::DataDir(_)
        | OpenError::Disk(_)
        | OpenError::Seed(_)
        | OpenError::Clock(_)
        | OpenError::Thread(_) => None,
    };
    if let Some(remedy) = remedy {
        return failure.next(remedy.command(dir));
    }
    let dir = dir.display();
    match error {
        OpenError::Clock(_) => failure.next(format!("holdfast serve --data-dir {dir} --accept-clock")),
        _ if code == Exit::Damage => failure.next(format!("holdfast doctor --data-dir {dir}")),
        OpenError::DataDir(_)
        | OpenError::Disk(_)
        | OpenError::Recovery(_)
        | OpenError::Seed(_)
        | OpenError::Thread(_) => failure,
    }
}

/// A path of the command line as the text that the configuration keeps.
pub(super) fn text_of(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(Exit::Usage, format!("{} is not UTF-8", path.display())))
}
