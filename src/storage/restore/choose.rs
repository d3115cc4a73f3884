//! Which snapshot a restore starts from, when a directory is named instead of a file.
use super::super::snapshot::{Manifest, SnapshotError, SnapshotReader};
use super::{Cut, RestoreError, survey::states_at_ms};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How snapshot files end.
const EXTENSION: &str = "holdfast";

/// The snapshot in a directory that is the nearest before the cut, of the newest epoch there is. A file that is no snapshot,
/// or cannot be read, is passed over: an older one may do.
///
/// # Errors
/// The directory cannot be listed, or has none that reaches back so far.
pub fn nearest(dir: &Path, cut: Cut) -> Result<PathBuf, RestoreError> {
    let io = |source: io::Error| SnapshotError::Io {
        doing: "list",
        path: dir.to_owned(),
        source,
    };
    let mut found: Vec<(Manifest, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|end| end == EXTENSION)
            && let Ok(reader) = SnapshotReader::open(&path)
        {
            found.push((reader.manifest().clone(), path));
        }
    }
    let newest = found.iter().map(|(manifest, _)| manifest.epoch).max();
    let reaches = |manifest: &Manifest| match cut {
        Cut::End => true,
        Cut::Number(number) => manifest.rows_number.unwrap_or(manifest.position) <= number,
        Cut::Time(at) => states_at_ms(manifest) <= at,
    };
    let of_newest = found
        .into_iter()
        .filter(|(manifest, _)| Some(manifest.epoch) == newest);
    let nearest = of_newest
        .filter(|(manifest, _)| reaches(manifest))
        .max_by_key(|(manifest, _)| manifest.position);
    nearest
        .map(|(_, path)| path)
        .ok_or_else(|| RestoreError::NoSnapshot { dir: dir.to_owned() })
}
