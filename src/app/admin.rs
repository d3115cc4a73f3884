//! The operator's side: what is hot, what is closed, how the server ends, how the disk does.
use super::{Answered, AppError, Context, Done, Keyed, Shop};
use crate::{
    actor::{Answer, Logged, What},
    domain::{
        ids::VariantId,
        variant::{Command, View},
    },
    storage::{
        disk_reserve::DiskReserve,
        record::{Fact, Told},
    },
    telemetry::metrics::metrics,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// How often the free disk space is looked at, ms.
const DISK_LOOK_MS: i64 = 1_000;

/// A variant by the commands it got.
#[derive(Clone, Debug)]
pub struct HotVariant {
    /// Which.
    pub id: VariantId,
    /// Commands since the process began.
    pub commands: u64,
    /// Commands on their way now.
    pub in_flight: usize,
}

/// A variant that is closed until an operator has looked.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Which.
    pub id: VariantId,
    /// Why.
    pub reason: String,
}

/// What a clean-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanedUp {
    /// Holds that were due.
    pub due: u64,
    /// Holds given back by this call.
    pub expired: u64,
}

/// Whether the disk has room for new business; looked at every second, asked on every hold.
#[derive(Debug)]
pub(super) struct DiskWatch {
    low: Arc<AtomicBool>,
    free_bytes: Arc<AtomicU64>,
    /// The idempotency keys have reached `keys.disk_max`.
    keys_full: AtomicBool,
}

impl DiskWatch {
    /// Begins to look; ends with the runtime or when the shop is dropped.
    pub(super) fn start(reserve: DiskReserve, clock: crate::clock::Clock) -> Self {
        let low = Arc::new(AtomicBool::new(false));
        let watched = Arc::downgrade(&low);
        let free_bytes = Arc::new(AtomicU64::new(0));
        let free = Arc::clone(&free_bytes);
        tokio::spawn(async move {
            while let Some(low) = watched.upgrade() {
                match reserve.probe() {
                    Ok(space) => {
                        free.store(space.free_bytes, Ordering::Relaxed);
                        #[expect(
                            clippy::cast_precision_loss,
                            reason = "a gauge of bytes needs no last digit"
                        )]
                        metrics().disk_free_bytes.set(space.free_bytes as f64);
                        if low.swap(space.below_reserve, Ordering::AcqRel) != space.below_reserve {
                            tracing::warn!(
                                below_reserve = space.below_reserve,
                                free_bytes = space.free_bytes,
                                "disk reserve"
                            );
                        }
                    }
                    Err(error) => tracing::error!(%error, "the free disk space cannot be read"),
                }
                drop(low);
                clock.sleep_until(clock.now().saturating_add(DISK_LOOK_MS)).await;
            }
        });
        Self {
            low,
            free_bytes,
            keys_full: AtomicBool::new(false),
        }
    }

    /// Bytes that may still be written, as seen at the last look.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Whether new keyed writes are refused for want of room for their keys.
    pub(super) fn keys_are_full(&self) -> bool {
        self.keys_full.load(Ordering::Acquire)
    }

    /// What the stored keys occupy, against their limit; told every second.
    pub(super) fn keys_occupy(&self, bytes: u64, at_most: u64) {
        let full = bytes >= at_most;
        if self.keys_full.swap(full, Ordering::AcqRel) != full {
            tracing::warn!(full, bytes, at_most, "idempotency keys on disk");
        }
    }

    /// Asks whether the disk is low, from any thread.
    pub(super) fn low(&self) -> impl Fn() -> bool + Send + 'static {
        let low = Arc::clone(&self.low);
        move || low.load(Ordering::Acquire)
    }
}

impl Shop {
    /// Whether new holds are refused for want of disk space; what ends business under way goes on.
    pub(super) fn disk_is_low(&self) -> bool {
        self.disk.low.load(Ordering::Acquire)
    }

    /// The variants with the most commands since the process began.
    pub fn hot_variants(&self, ctx: &Context, limit: usize) -> Vec<HotVariant> {
        let running = self
            .directory
            .all()
            .into_iter()
            .filter(|entry| entry.store == ctx.store);
        let hot = |entry: Arc<crate::actor::Entry>| HotVariant {
            id: entry.id.clone(),
            commands: entry.commands.load(Ordering::Relaxed),
            in_flight: entry.in_flight(),
        };
        let mut hot: Vec<HotVariant> = running.map(hot).filter(|hot| hot.commands > 0).collect();
        hot.sort_by(|a, b| b.commands.cmp(&a.commands).then_with(|| a.id.cmp(&b.id)));
        hot.truncate(limit);
        hot
    }

    /// Variants of all stores whose actors run now; the others sleep.
    pub fn running_variants(&self) -> usize {
        self.directory.running().len()
    }

    /// The variants that are closed until an operator has looked.
    pub fn quarantined(&self, ctx: &Context) -> Vec<Quarantined> {
        let closed = self
            .directory
            .quarantined()
            .into_iter()
            .filter(|(entry, _)| entry.store == ctx.store);
        closed
            .map(|(entry, reason)| Quarantined {
                id: entry.id.clone(),
                reason,
            })
            .collect()
    }

    /// Has a quarantined variant read again from rows and log, and shows it; `None` if it is not quarantined.
    ///
    /// # Errors
    /// No such variant, or an error of the way: it may be closed again.
    pub async fn rebuild_quarantined(
        &self,
        ctx: &Context,
        id: &VariantId,
    ) -> Result<Option<Answered<View>>, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return variant_told(*logged, true).map(Some),
            Keyed::Fresh(key) => key,
        };
        let entry = self.variant(ctx, id)?;
        if !self.directory.release_from_quarantine(&entry) {
            return Ok(None);
        }
        let seen = self.get_variant(ctx, id).await?;
        let Some(key) = key else {
            return Ok(Some(seen));
        };
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        let told = Told::Variant(Box::new(seen.body));
        let logged = self.tell(ctx, key, permit, told).await?;
        variant_told(logged, false).map(Some)
    }

    /// Gives back what is due in every running variant; the timers do it anyway, so there is rarely anything to find.
    ///
    /// # Errors
    /// An error of the way.
    pub async fn clean_up(&self, ctx: &Context, dry_run: bool) -> Result<Answered<CleanedUp>, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return cleaned_up(*logged, true),
            Keyed::Fresh(key) => key,
        };
        let at = self.clock.now();
        let done = self.expire_in_all(ctx, dry_run).await?;
        let Some(key) = key else {
            return Ok(Answered {
                body: done,
                at,
                replayed: false,
            });
        };
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        let told = Told::CleanedUp {
            due: done.due,
            expired: done.expired,
        };
        cleaned_up(self.tell(ctx, key, permit, told).await?, false)
    }

    async fn expire_in_all(&self, ctx: &Context, dry_run: bool) -> Result<CleanedUp, AppError> {
        let mut done = CleanedUp { due: 0, expired: 0 };
        for entry in self
            .directory
            .running()
            .into_iter()
            .filter(|entry| entry.store == ctx.store)
        {
            let Answer::Count(due) = self.look(ctx, &entry, What::Due).await? else {
                continue;
            };
            done.due += due as u64;
            if due == 0 || dry_run {
                continue;
            }
            loop {
                let Done::Logged { logged, .. } = self.send(ctx, &entry, Command::Cleanup, None).await?
                else {
                    break;
                };
                if let Fact::Variant(fact) = &logged.turn.fact {
                    done.expired += fact.events.len() as u64;
                }
            }
        }
        Ok(done)
    }

    /// An operator asks the server to end. The key is remembered first: a repeat that comes after the restart must not end
    /// the server again.
    ///
    /// # Errors
    /// An error of the way; it goes on then.
    pub async fn end(&self, ctx: &Context) -> Result<Answered<()>, AppError> {
        let done = |at, replayed| {
            Ok(Answered {
                body: (),
                at,
                replayed,
            })
        };
        let at = match self.claim(ctx).await? {
            Keyed::Known(logged) => return done(logged.turn.at, true),
            Keyed::Fresh(None) => self.clock.now(),
            Keyed::Fresh(Some(key)) => {
                // Of the pool that draining does not close.
                let permit = self.admission.reserve(1).map_err(AppError::Shed)?;
                self.tell(ctx, key, permit, Told::Done).await?.turn.at
            }
        };
        self.ask_to_end();
        done(at, false)
    }

    /// Brings the stored rows up to what is durable now, so that a start has nothing to replay and the log can go. The
    /// house does it by itself, now and then.
    ///
    /// # Errors
    /// The disk can no longer be trusted.
    pub async fn checkpoint(&self) -> Result<(), AppError> {
        let checkpointer = self.checkpointer.clone();
        super::replay::blocking(&*self.workers, move || {
            let done = checkpointer.run_now();
            done.map_err(|error| AppError::internal("a checkpoint failed", &error))
        })
        .await
    }

    /// Asks the server to end in good order; whoever serves this shop listens.
    pub fn ask_to_end(&self) {
        self.ending.send_replace(true);
    }

    /// Resolves when somebody asked the server to end.
    pub async fn end_wanted(&self) {
        let mut ending = self.ending.subscribe();
        // The sender is ours, so the wait ends only with the wish.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    /// Turns new requests away; those on their way go on.
    pub fn drain(&self) {
        self.admission.drain();
    }

    /// Whether new requests are turned away.
    pub fn is_draining(&self) -> bool {
        self.admission.is_draining()
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// Resolves when everything on its way has been answered.
    pub async fn idle(&self) {
        self.admission.idle().await;
    }
}

fn variant_told(logged: Logged, replayed: bool) -> Result<Answered<View>, AppError> {
    let Fact::Told(Told::Variant(view)) = logged.turn.fact else {
        return Err(AppError::KeyReused);
    };
    Ok(Answered {
        at: view.at,
        body: *view,
        replayed,
    })
}

fn cleaned_up(logged: Logged, replayed: bool) -> Result<Answered<CleanedUp>, AppError> {
    let Fact::Told(Told::CleanedUp { due, expired }) = logged.turn.fact else {
        return Err(AppError::KeyReused);
    };
    Ok(Answered {
        body: CleanedUp { due, expired },
        at: logged.turn.at,
        replayed,
    })
}
