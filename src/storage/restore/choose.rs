//! Which snapshot a restore starts from, when a directory is named instead of a file.
use super::super::{
    lineage::Lineage,
    snapshot::{Manifest, SnapshotError, SnapshotReader},
};
use super::{Cut, RestoreError, survey::states_at_ms};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How snapshot files end.
const EXTENSION: &str = "holdfast";

/// The snapshot in a directory that is the nearest before the cut: in the history the cut is in, see `Logs::behind`, or of the
/// newest epoch there is where no history is known or none of it has a snapshot. A file that is no snapshot, or cannot be read, is
/// passed over: an older one may do.
///
/// # Errors
/// The directory cannot be listed, or has none that reaches back so far.
pub fn nearest(dir: &Path, cut: Cut, lineage: Option<&Lineage>) -> Result<PathBuf, RestoreError> {
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
    let in_history = |manifest: &Manifest| {
        let way = |lineage: &Lineage| lineage.way(manifest.epoch, manifest.position, cut.epoch(lineage));
        lineage.and_then(way)
    };
    let nearest = |wanted: &dyn Fn(&Manifest) -> bool| {
        let wanted = found
            .iter()
            .filter(|(manifest, _)| reaches(manifest) && wanted(manifest));
        wanted
            .max_by_key(|(manifest, _)| manifest.position)
            .map(|(_, path)| path.clone())
    };
    nearest(&|manifest| in_history(manifest).is_some())
        .or_else(|| nearest(&|manifest| Some(manifest.epoch) == newest))
        .ok_or_else(|| RestoreError::NoSnapshot { dir: dir.to_owned() })
}
