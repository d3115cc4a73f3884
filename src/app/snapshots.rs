//! Portable snapshots while serving: asked for, on schedule, at the end; listed, verified, removed.
//!
//! One is taken or verified at a time, on a thread of its own with the least priority, so that the sale goes first. The work
//! belongs to the shop and not to the request: a client that hangs up does not end it, and under a key a repeat gets the
//! answer. What is told under a key is the snapshot's id; its file says the rest, byte for byte the same as long as it is there.
//!
//! Those taken on schedule go when there are more than `snapshots.keep`; one that somebody asked for stays.
use super::{Answered, AppError, Context, Keyed, Shop, open::chain};
use crate::{
    actor::{KeyClaim, Logged, Shed},
    clock::Stopwatch,
    config::Length,
    domain::time::Timestamp,
    storage::{
        journal::Epoch,
        record::{Fact, Told},
        recovery::{CaptureAbout, CaptureError, CaptureTo, Captured, JudgeError, capture, judge},
        snapshot::{Manifest, Shelf, Shelved, SnapshotError, SnapshotReader, verify},
    },
    telemetry::metrics::metrics,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// The program and version that writes.
pub const WRITTEN_BY: &str = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
/// Why a snapshot was taken, as its manifest says it.
const ON_SCHEDULE: &str = "Taken on schedule.";
const ASKED_FOR: &str = "Taken because an operator asked for it.";
const AT_THE_END: &str = "Taken when the server ended.";
/// After a failure the next one is tried no later than this, ms.
const RETRY_MS: i64 = 10 * 60 * 1000;
/// The least priority of a thread.
const NICEST: i32 = 19;

/// The shop's snapshots.
pub(super) struct Snapshots {
    shelf: Shelf,
    epoch: Epoch,
    /// Held by whoever takes or verifies one.
    busy: Arc<Mutex<()>>,
    /// Whoever is at work ends soon while this is true.
    stop: Arc<AtomicBool>,
    /// None is begun any more.
    ended: AtomicBool,
}

/// A page of snapshots, newest first.
#[derive(Debug)]
pub struct ListedSnapshots {
    /// Those whose manifests can be read.
    pub items: Vec<Shelved>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Snapshots {
    /// Those in `folder`; what a crash left unfinished is removed.
    pub(super) fn open(folder: PathBuf, epoch: Epoch) -> Self {
        let shelf = Shelf::new(folder);
        if let Err(error) = shelf.sweep() {
            tracing::warn!(%error, "an unfinished snapshot could not be removed");
        }
        if let Some(newest) = newest(&shelf, |_| true) {
            metrics()
                .snapshot_last_success_seconds
                .set(seconds(newest.manifest.created_at_ms));
        }
        Self {
            shelf,
            epoch,
            busy: Arc::default(),
            stop: Arc::default(),
            ended: AtomicBool::new(false),
        }
    }

    fn begin(&self) -> Result<OwnedMutexGuard<()>, AppError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(AppError::Shed(Shed::Draining));
        }
        let begun = Arc::clone(&self.busy).try_lock_owned();
        begun.map_err(|_| AppError::SnapshotRunning)
    }

    /// Has the one that is being taken end soon.
    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The newest snapshot that is wanted.
fn newest(shelf: &Shelf, wanted: impl Fn(&Manifest) -> bool) -> Option<Shelved> {
    let ids = shelf.ids().unwrap_or_default();
    let found = ids.iter().filter_map(|id| shelf.get(id).ok().flatten());
    found.into_iter().find(|found| wanted(&found.manifest))
}

impl Shop {
    /// Takes a snapshot and waits until it is whole, read back and lawful.
    ///
    /// # Errors
    /// One is being taken, the disk has no room, or an error of the way.
    pub async fn create_snapshot(self: &Arc<Self>, ctx: &Context) -> Result<Answered<Shelved>, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return self.snapshot_told(*logged).await,
            Keyed::Fresh(key) => key,
        };
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        let busy = self.snapshots.begin()?;
        let (shop, ctx) = (Arc::clone(self), ctx.clone());
        let work = tokio::spawn(async move {
            let taken = shop.take_snapshot(ASKED_FOR).await;
            drop(busy);
            shop.snapshot_done(&ctx, key, taken?).await
        });
        work.await
            .unwrap_or_else(|panic| Err(AppError::internal("taking a snapshot panicked", &panic)))
    }

    /// The snapshots behind the id `after`, newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn list_snapshots(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<ListedSnapshots, AppError> {
        let shelf = self.snapshots.shelf.clone();
        let page = super::replay::blocking(&*self.workers, move || {
            let page = shelf.page(after.as_deref(), limit);
            page.map_err(|error| AppError::internal("the snapshots could not be listed", &error))
        });
        let page = page.await?;
        for (snapshot, error) in &page.unreadable {
            tracing::warn!(snapshot, %error, "a snapshot cannot be read and is not listed");
        }
        Ok(ListedSnapshots {
            items: page.items,
            next: page.next,
        })
    }

    /// One snapshot, by its manifest.
    ///
    /// # Errors
    /// There is none of this id, or its manifest is damaged.
    pub async fn get_snapshot(&self, id: &str) -> Result<Shelved, AppError> {
        let (shelf, id) = (self.snapshots.shelf.clone(), id.to_owned());
        super::replay::blocking(&*self.workers, move || match shelf.get(&id) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(AppError::SnapshotNotFound(id)),
            Err(error) => Err(damaged(id, &error)),
        })
        .await
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// There is none of this id, one is being taken or verified, or an error of the way.
    pub async fn delete_snapshot(&self, ctx: &Context, id: &str) -> Result<Answered<()>, AppError> {
        let done = |at, replayed| Answered {
            body: (),
            at,
            replayed,
        };
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return Ok(done(logged.turn.at, true)),
            Keyed::Fresh(key) => key,
        };
        let _busy = self.snapshots.begin()?;
        let (shelf, wanted) = (self.snapshots.shelf.clone(), id.to_owned());
        let removed = super::replay::blocking(&*self.workers, move || {
            let removed = shelf.remove(&wanted);
            removed.map_err(|error| AppError::internal("a snapshot could not be removed", &error))
        });
        if !removed.await? {
            return Err(AppError::SnapshotNotFound(id.to_owned()));
        }
        tracing::info!(snapshot = id, "removed a snapshot");
        let at = match key {
            None => self.clock.now(),
            Some(key) => self.tell_unhurried(ctx, key, Told::Done).await?.turn.at,
        };
        Ok(done(at, false))
    }

    /// Reads a whole snapshot and judges it by the laws.
    ///
    /// # Errors
    /// It is not what was written, there is none of this id, or an error of the way.
    pub async fn verify_snapshot(
        self: &Arc<Self>,
        ctx: &Context,
        id: &str,
    ) -> Result<Answered<Shelved>, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return self.snapshot_told(*logged).await,
            Keyed::Fresh(key) => key,
        };
        let found = self.get_snapshot(id).await?;
        let busy = self.snapshots.begin()?;
        let (shop, ctx) = (Arc::clone(self), ctx.clone());
        let work = tokio::spawn(async move {
            let (id, path) = (found.id.clone(), found.path.clone());
            let judged = aside(move || -> Result<(), JudgeError> {
                verify(&path)?;
                judge(&|| SnapshotReader::open(&path))?.lawful().map(|_| ())
            });
            let judged = judged.await;
            drop(busy);
            if let Err(error) = judged? {
                tracing::error!(snapshot = id, %error, "a snapshot was verified and found wrong");
                return Err(misjudged(id, &error));
            }
            shop.snapshot_done(&ctx, key, found).await
        });
        work.await
            .unwrap_or_else(|panic| Err(AppError::internal("verifying a snapshot panicked", &panic)))
    }

    /// Takes one; whoever calls has begun.
    async fn take_snapshot(&self, why: &str) -> Result<Shelved, AppError> {
        if self.disk_is_low() {
            metrics().snapshot_failures.increment(1);
            tracing::error!("no snapshot was taken: the disk is below its reserve");
            return Err(AppError::DiskFull);
        }
        let about = CaptureAbout {
            written_by: WRITTEN_BY.to_owned(),
            created_at_ms: self.clock.now().as_millis(),
            source: why.to_owned(),
        };
        let (checkpointer, shelf) = (self.checkpointer.clone(), self.snapshots.shelf.clone());
        let (epoch, stop) = (self.snapshots.epoch, Arc::clone(&self.snapshots.stop));
        let begun = Stopwatch::start();
        let taken = aside(move || capture(&checkpointer, epoch, CaptureTo::Shelf(&shelf), &about, &stop));
        match taken.await? {
            Ok(captured) => self.snapshot_taken(captured, begun.seconds()),
            Err(CaptureError::Stopped) => Err(AppError::Shed(Shed::Draining)),
            Err(error) => {
                metrics().snapshot_failures.increment(1);
                tracing::error!(error = chain(&error), "a snapshot failed");
                if error.is_disk_full() {
                    return Err(AppError::DiskFull);
                }
                Err(AppError::Internal(format!(
                    "a snapshot failed: {}",
                    chain(&error)
                )))
            }
        }
    }

    fn snapshot_taken(&self, captured: Captured, seconds_taken: f64) -> Result<Shelved, AppError> {
        let Captured {
            path,
            manifest,
            bytes,
            held_seconds,
        } = captured;
        let id = path.file_stem().and_then(|stem| stem.to_str());
        let id = id
            .ok_or_else(|| AppError::bug("a snapshot's name is its id"))?
            .to_owned();
        let metrics = metrics();
        metrics
            .snapshot_last_success_seconds
            .set(seconds(manifest.created_at_ms));
        metrics.snapshot_seconds.set(seconds_taken);
        #[expect(clippy::cast_precision_loss, reason = "a gauge of bytes needs no last digit")]
        metrics.snapshot_bytes.set(bytes as f64);
        tracing::info!(
            snapshot = id,
            position = manifest.position,
            bytes,
            seconds = seconds_taken,
            held_seconds,
            "took a snapshot"
        );
        Ok(Shelved {
            id,
            path,
            bytes,
            manifest,
        })
    }

    /// Remembers a success under the caller's key, if there is one.
    async fn snapshot_done(
        &self,
        ctx: &Context,
        key: Option<KeyClaim>,
        snapshot: Shelved,
    ) -> Result<Answered<Shelved>, AppError> {
        let at = match key {
            None => self.clock.now(),
            Some(key) => {
                let told = Told::Snapshot(snapshot.id.clone());
                self.tell_unhurried(ctx, key, told).await?.turn.at
            }
        };
        Ok(Answered {
            body: snapshot,
            at,
            replayed: false,
        })
    }

    /// Tells when the work is done, however long it took: the caller's deadline was for being heard.
    async fn tell_unhurried(&self, ctx: &Context, key: KeyClaim, told: Told) -> Result<Logged, AppError> {
        // Of the pool that draining does not close: what was done is remembered.
        let permit = self.admission.reserve(1).map_err(AppError::Shed)?;
        let patient = Context {
            deadline: Timestamp::from_millis(i64::MAX),
            ..ctx.clone()
        };
        self.tell(&patient, key, permit, told).await
    }

    async fn snapshot_told(&self, logged: Logged) -> Result<Answered<Shelved>, AppError> {
        let Fact::Told(Told::Snapshot(id)) = logged.turn.fact else {
            return Err(AppError::KeyReused);
        };
        Ok(Answered {
            body: self.get_snapshot(&id).await?,
            at: logged.turn.at,
            replayed: true,
        })
    }

    /// Ends the one that is being taken, and takes the last one if the server is to end with one.
    pub(super) async fn end_snapshots(&self) {
        self.snapshots.stop();
        let _busy = self.snapshots.busy.lock().await;
        self.snapshots.stop.store(false, Ordering::Relaxed);
        if self.config.snapshots.on_drain {
            // Why it failed has been told; the log has everything.
            let _ = self.take_snapshot(AT_THE_END).await;
        }
    }

    /// One that nobody asked for; when the next one is due.
    async fn snapshot_on_schedule(&self, every: Length) -> Timestamp {
        let now = self.clock.now();
        let again = now.saturating_add(RETRY_MS.min(every.as_millis()));
        let Ok(_busy) = self.snapshots.begin() else {
            return again;
        };
        if self.take_snapshot(ON_SCHEDULE).await.is_err() {
            return again;
        }
        let (shelf, keep) = (self.snapshots.shelf.clone(), self.config.snapshots.keep);
        // What cannot be removed now is removed the next time; why has been told.
        let _ = super::replay::blocking(&*self.workers, move || {
            keep_newest(&shelf, keep);
            Ok(())
        })
        .await;
        now.saturating_add(every.as_millis())
    }
}

/// Removes snapshots taken on schedule but for the newest.
fn keep_newest(shelf: &Shelf, keep: usize) {
    let scheduled = |id: &String| {
        let found = shelf.get(id).ok().flatten();
        found.is_some_and(|found| found.manifest.source == ON_SCHEDULE)
    };
    let ids = shelf.ids().unwrap_or_default();
    for id in ids.into_iter().filter(scheduled).skip(keep) {
        match shelf.remove(&id) {
            Ok(_) => tracing::info!(snapshot = id, "removed an old snapshot"),
            Err(error) => tracing::warn!(snapshot = id, %error, "an old snapshot cannot be removed"),
        }
    }
}

/// Takes snapshots as long as the shop lives, if any are to be taken.
pub(super) fn schedule(shop: &Arc<Shop>) {
    let Some(every) = shop.config.snapshots.every else {
        return;
    };
    let clock = shop.clock.clone();
    let last = newest(&shop.snapshots.shelf, |manifest| manifest.source == ON_SCHEDULE);
    // A time ahead of the clock is one of another clock.
    let last = last.map_or(clock.now(), |last| {
        Timestamp::from_millis(last.manifest.created_at_ms).min(clock.now())
    });
    let mut due = last.saturating_add(every.as_millis());
    let shop = Arc::downgrade(shop);
    tokio::spawn(async move {
        loop {
            clock.sleep_until(due).await;
            let Some(shop) = shop.upgrade().filter(|shop| !shop.is_draining()) else {
                return;
            };
            due = shop.snapshot_on_schedule(every).await;
        }
    });
}

/// Runs work on a thread of its own that goes behind everybody else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    let (done, waiting) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("snapshot".into())
        .spawn(move || {
            // Of the calling thread alone. Where it is refused, the work takes its share like any other.
            let _ = rustix::process::setpriority_process(None, NICEST);
            let _ = done.send(work());
        });
    thread.map_err(|error| AppError::internal("a thread could not be started", &error))?;
    waiting
        .await
        .map_err(|_| AppError::bug("the snapshot thread panicked"))
}

fn damaged(id: String, error: &SnapshotError) -> AppError {
    match error {
        SnapshotError::Io { .. } => AppError::internal("a snapshot could not be read", error),
        SnapshotError::Damaged {
            place,
            offset,
            damage,
            ..
        } => AppError::SnapshotDamaged {
            id,
            why: format!("damaged in {place} at byte {offset}: {damage}"),
            offset: Some(*offset),
        },
        SnapshotError::NotASnapshot { .. }
        | SnapshotError::UnknownFormat { .. }
        | SnapshotError::EntryTooLarge { .. }
        | SnapshotError::IdTooLong { .. }
        | SnapshotError::ManifestTooLong { .. }
        | SnapshotError::EntityAfterRecord
        | SnapshotError::RecordGap { .. }
        | SnapshotError::ReadBackDiffers { .. } => AppError::SnapshotDamaged {
            id,
            why: error.to_string(),
            offset: None,
        },
    }
}

fn misjudged(id: String, error: &JudgeError) -> AppError {
    if let JudgeError::Snapshot(error) = error {
        return damaged(id, error);
    }
    AppError::SnapshotDamaged {
        id,
        why: error.to_string(),
        offset: None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of seconds needs no last digit"
)]
fn seconds(at_ms: i64) -> f64 {
    at_ms as f64 / 1000.0
}
