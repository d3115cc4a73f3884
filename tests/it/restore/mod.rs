//! A shop put back as an operator does it: by a command into a new directory, and over HTTP while the process goes on.
mod command;
mod online;

use holdfast::{
    app::{Shop, ShopOptions, Time, configured_journal, recover_options},
    clock::ManualClock,
    config::{Config, Loaded},
    domain::time::Timestamp,
    storage::{
        data_dir::DataDir,
        recovery::{CaptureAbout, CaptureTo, Captured, OpenJournal, capture_directory},
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A data directory, its configuration and the time in it.
struct Home {
    dir: tempfile::TempDir,
    loaded: Arc<Loaded>,
    clock: ManualClock,
}

impl Home {
    fn new(backend: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let flags = [
            ("data.dir", data.to_str().unwrap()),
            ("journal.backend", backend),
            ("disk.reserve", "1MiB"),
            ("checkpoint.every", "1d"),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            loaded: Arc::new(Config::load(None, [], &flags).unwrap()),
            clock: ManualClock::new(Timestamp::from_millis(1_700_000_000_000)),
            dir,
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn journal(&self) -> OpenJournal {
        configured_journal(&self.loaded.config)
    }

    async fn open(&self, journal: OpenJournal) -> Arc<Shop> {
        let options = ShopOptions {
            config: Arc::new(self.loaded.config.clone()),
            journal,
            time: Time::Given(self.clock.clone().into()),
            seed: None,
            progress: Box::new(|_| ()),
            on_fatal: Arc::new(|why| panic!("{why}")),
            workers: holdfast::workers::threads(),
        };
        Shop::open(options).await.unwrap().0
    }

    /// Takes a snapshot of the closed shop.
    fn capture(&self, path: &Path) -> Captured {
        let about = CaptureAbout {
            written_by: "test".to_owned(),
            created_at_ms: 1_700_000_000_000,
            source: "a test".to_owned(),
        };
        let dir = DataDir::open(&self.data()).unwrap();
        let to = CaptureTo::File(path);
        capture_directory(&dir, &recover_options(&self.loaded.config), to, &about).unwrap()
    }
}
