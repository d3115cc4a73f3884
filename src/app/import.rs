//! Imports: a list of what the shop sells, taken over line by line.
//!
//! ```text
//!  seat ──► spool ──► check every line ──► judge (dry run)
//!                                    └──► carry out, some lines at a time ──► report, remembered under the key
//! ```
//! A fault of form or reference in any line, and nothing is done. Then every line is one command to its variant; what a
//! variant refuses is reported and stops nobody else. Lines go through the same admission as shoppers, few at a time, and
//! wait where shoppers would be turned away.
//!
//! Under a key each line has a key of its own, derived from it. So an import that was interrupted goes on when it is sent
//! again: what was done is not done twice. The first record under the key is the import's own mark, by which another body
//! under the same key is found out before any line is touched; the last is the report.
//!
//! A short list can be had [all or not at all](together) instead.
//!
//! Neighbours: `http::stock_file` reads and writes the two forms of a list; `storage::spool` holds one while it is dealt
//! with.
mod together;

pub use together::TOGETHER_MAX;

use super::{Answered, AppError, Context, Done, Keyed, RequestKey, Shop, replay::blocking};
use crate::{
    actor::{Entry, KeyClaim, Shed},
    domain::{
        ids::VariantId,
        variant::{
            Command, Event, FAILURES_TOLD_MAX, Import, ImportReport, Level, LineFailure, Refusal, Sheet,
            WhyNot,
        },
    },
    storage::{
        record::{Fact, Told},
        spool::Spooling,
    },
    telemetry::metrics::{ImportLine as Outcome, metrics},
};
use hashbrown::HashMap;
use std::{io, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

/// Imports under way at a time, bodies still arriving included: each may lay down a whole body on the disk.
const IMPORTS_MAX: usize = 4;
/// Lines on their way at a time, of all imports together; no more than an eighth of what the house takes.
const LINES_IN_FLIGHT_MAX: usize = 256;
/// The most lines of one import: their ids are held in memory while they are checked.
pub const IMPORT_LINES_MAX: u64 = 1_000_000;
/// The most faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 100;
/// The most changes that a dry run tells one by one.
const CHANGES_TOLD_MAX: usize = 1_000;
/// A line that was turned away comes again after this long, ms.
const PAUSE_MS: i64 = 20;
/// The part of an import's key that is no line.
const MARK: u64 = 0;

/// The bounds of imports.
#[derive(Debug)]
pub(super) struct Imports {
    seats: Arc<Semaphore>,
    lines: Arc<Semaphore>,
    /// Lists that are taken over as one go one after the other: two could each wait for what the other has.
    together: Semaphore,
}

impl Imports {
    /// Beside so many commands of callers.
    pub(super) fn beside(max_in_flight: usize) -> Self {
        let lines = (max_in_flight / 8).clamp(1, LINES_IN_FLIGHT_MAX);
        Self {
            seats: Arc::new(Semaphore::new(IMPORTS_MAX)),
            lines: Arc::new(Semaphore::new(lines)),
            together: Semaphore::new(1),
        }
    }
}

/// The right to import; dropping it lets the next one in.
#[derive(Debug)]
pub struct ImportSeat {
    _permit: OwnedSemaphorePermit,
}

/// A line as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportLine {
    /// Where it stands in the file, from 1.
    pub number: u64,
    /// The shop's id of its variant.
    pub variant: VariantId,
    /// What it says.
    pub import: Import,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// The member or column.
    pub member: Option<String>,
    /// What is wrong, for people.
    pub problem: String,
    /// The line that it contradicts.
    pub first_line: Option<u64>,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub enum NoLine {
    /// It cannot be read as one.
    #[error("line {}: {}", .0.line, .0.problem)]
    Fault(LineFault),
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The lines of a list that somebody else knows how to read; read more than once.
pub trait ImportSource: Send + Sync {
    /// All lines, in order. It ends early where nothing more can be understood.
    fn lines(&self) -> Box<dyn Iterator<Item = Result<ImportLine, NoLine>> + Send + '_>;
}

/// What an import would do.
#[derive(Clone, Debug, Default)]
pub struct ImportPlan {
    /// Line by line what it would come to.
    pub report: ImportReport,
    /// The first lines that would change something, at most [`CHANGES_TOLD_MAX`].
    pub changes: Vec<PlannedChange>,
    /// How many more there are.
    pub changes_untold: u64,
}

/// A line that would change something.
#[derive(Clone, Debug)]
pub struct PlannedChange {
    /// Where it stands.
    pub line: u64,
    /// The shop's id of its variant.
    pub variant: VariantId,
    /// What stands; nothing where the variant would be created.
    pub before: Option<Sheet>,
    /// What would stand.
    pub after: Sheet,
}

impl Shop {
    /// Lets an import in, before its body is read.
    ///
    /// # Errors
    /// There are [`IMPORTS_MAX`], the server is draining, or the disk is low.
    pub fn import_seat(&self) -> Result<ImportSeat, AppError> {
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let permit = Arc::clone(&self.imports.seats).try_acquire_owned();
        let _permit = permit.map_err(|_| AppError::Shed(Shed::Process))?;
        Ok(ImportSeat { _permit })
    }

    /// A place on the disk for the body of an import.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn spool(&self) -> Result<Spooling, AppError> {
        let root = self.config.data.dir.clone();
        blocking(&*self.workers, move || {
            Spooling::begin(&root).map_err(|error| AppError::internal("no spool", &error))
        })
        .await
    }

    /// Adds a part of the body of an import.
    ///
    /// # Errors
    /// The disk is low or refuses.
    pub async fn push(&self, mut spooling: Spooling, bytes: Vec<u8>) -> Result<Spooling, AppError> {
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        blocking(&*self.workers, move || match spooling.push(&bytes) {
            Ok(()) => Ok(spooling),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(AppError::DiskReserve),
            Err(error) => Err(AppError::internal("a spool could not be written", &error)),
        })
        .await
    }

    /// What an import would do, were it carried out now.
    ///
    /// # Errors
    /// Faults of form or reference, or an error of the way.
    pub async fn plan_import(
        &self,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
    ) -> Result<ImportPlan, AppError> {
        self.check(ctx, Arc::clone(&source)).await?;
        let mut plan = ImportPlan::default();
        let mut lines = feed(source);
        while let Some(line) = lines.recv().await {
            let line = line?;
            let judged = self.judge(ctx, &line).await?;
            plan.add(line, judged);
        }
        Ok(plan)
    }

    /// What a line would come to: what stands, and what would.
    async fn judge(
        &self,
        ctx: &Context,
        line: &ImportLine,
    ) -> Result<Result<(Option<Sheet>, Sheet), WhyNot>, AppError> {
        loop {
            let ctx = self.patient(ctx, None);
            let seen = match self.directory.find(&ctx.store, &line.variant) {
                None => None,
                Some(entry) => match self.view(&ctx, &entry).await {
                    Ok(view) => Some(view),
                    Err(AppError::Refused {
                        refusal: Refusal::VariantNotFound,
                        ..
                    }) => None,
                    Err(AppError::Quarantined) => return Ok(Err(WhyNot::Quarantined)),
                    Err(error) if comes_again(&error) => {
                        self.pause().await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let after = match &seen {
                Some(view) => view.imported(&line.import),
                None => Sheet::created(&line.import),
            };
            let before = seen.map(|view| view.head.sheet());
            return Ok(after.map(|after| (before, after)).map_err(WhyNot::Refused));
        }
    }

    /// Carries out an import. It goes on to its end even if nobody waits for it any more.
    ///
    /// # Errors
    /// Faults of form or reference: nothing was done. [`AppError::ImportStopped`]: some lines were done; the same import
    /// under the same key goes on from there. Otherwise an error of the way.
    pub async fn import(
        self: &Arc<Self>,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
        seat: ImportSeat,
    ) -> Result<Answered<ImportReport>, AppError> {
        let key = match self.claim_import(ctx).await? {
            Keyed::Known(logged) => return imported(logged.turn.fact, logged.turn.at, true),
            Keyed::Fresh(key) => key,
        };
        self.check(ctx, Arc::clone(&source)).await?;
        let (shop, ctx) = (Arc::clone(self), ctx.clone());
        to_its_end(seat, async move { shop.carry_out(&ctx, source, key).await }).await
    }

    async fn claim_import(&self, ctx: &Context) -> Result<Keyed, AppError> {
        match self.claim(ctx).await {
            // The first one is still at work, and will be for longer than a caller waits.
            Err(AppError::OutcomeUnknown) => Err(AppError::InFlight),
            claimed => claimed,
        }
    }

    /// Reads every line once and touches nothing; how many there are.
    async fn check(&self, ctx: &Context, source: Arc<dyn ImportSource>) -> Result<usize, AppError> {
        let directory = Arc::clone(&self.directory);
        let store = ctx.store.clone();
        blocking(&*self.workers, move || {
            let mut checked = Checked::default();
            for line in source.lines() {
                match line {
                    Ok(line) => {
                        let is_there = || directory.find(&store, &line.variant).is_some();
                        checked.line(&line, is_there);
                    }
                    Err(NoLine::Fault(fault)) => checked.fault(fault),
                    Err(NoLine::Io(error)) => {
                        return Err(AppError::internal("a spool could not be read", &error));
                    }
                }
            }
            checked.result()
        })
        .await
    }

    async fn carry_out(
        self: Arc<Self>,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
        key: Option<KeyClaim>,
    ) -> Result<Answered<ImportReport>, AppError> {
        self.mark(ctx).await?;
        let report = self.take_over(ctx, source).await?;
        let at = self.clock.now();
        let Some(key) = key else {
            return imported(Fact::Told(Told::Imported(Box::new(report))), at, false);
        };
        // Every line is done: what the caller is told of them must not be lost to a full house.
        let permit = self.admission.reserve_when_free(1).await;
        let told = Told::Imported(Box::new(report));
        let logged = self.tell(&self.patient(ctx, None), key, permit, told).await?;
        imported(logged.turn.fact, logged.turn.at, false)
    }

    /// Remembers under the key that this import has begun; a repeat of it finds the mark, another import is refused.
    async fn mark(&self, ctx: &Context) -> Result<(), AppError> {
        let ctx = self.patient(ctx, Some(MARK));
        let Keyed::Fresh(Some(key)) = self.claim(&ctx).await? else {
            return Ok(());
        };
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        self.tell(&ctx, key, permit, Told::Done).await.map(|_| ())
    }

    /// Takes over line by line, some at a time.
    async fn take_over(
        self: &Arc<Self>,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
    ) -> Result<ImportReport, AppError> {
        let mut report = ImportReport::default();
        let mut stopped = None;
        let mut lines = feed(source);
        let mut running: JoinSet<Result<(ImportLine, Taken), AppError>> = JoinSet::new();
        while stopped.is_none()
            && let Some(line) = lines.recv().await
        {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            };
            let seat = Arc::clone(&self.imports.lines).acquire_owned().await;
            let (shop, ctx) = (Arc::clone(self), ctx.clone());
            running.spawn(async move {
                let taken = shop.take_line(&ctx, &line).await;
                drop(seat);
                taken.map(|taken| (line, taken))
            });
            while let Some(done) = running.try_join_next() {
                count(&mut report, &mut stopped, done);
            }
        }
        drop(lines);
        while let Some(done) = running.join_next().await {
            count(&mut report, &mut stopped, done);
        }
        match stopped {
            None => Ok(report),
            Some(AppError::KeyReused) => Err(AppError::KeyReused),
            Some(because) => Err(AppError::ImportStopped {
                lines: report.lines(),
                because: Box::new(because),
            }),
        }
    }

    /// One line, until its variant has judged it.
    async fn take_line(&self, ctx: &Context, line: &ImportLine) -> Result<Taken, AppError> {
        loop {
            if self.disk_is_low() {
                return Err(AppError::DiskReserve);
            }
            let ctx = self.patient(ctx, Some(line.number));
            match self.try_to_take(&ctx, line).await {
                Ok(Done::Logged { logged, .. }) => return taken(&logged.turn.fact),
                Ok(Done::Nothing) => return Ok(Taken::Unchanged),
                Ok(Done::Repeat { .. }) => return Err(AppError::bug("a line was answered by a reservation")),
                Err(AppError::Refused { refusal, .. }) => return Ok(Taken::Not(WhyNot::Refused(refusal))),
                Err(AppError::Quarantined) => return Ok(Taken::Not(WhyNot::Quarantined)),
                // The place was given up between finding it and sending there: find it again.
                Err(AppError::Gone) => {}
                Err(AppError::OutcomeUnknown) if ctx.key.is_none() => return Ok(Taken::Not(WhyNot::Unknown)),
                // Asked again under its key, it tells what became of it.
                Err(AppError::OutcomeUnknown | AppError::InFlight) => self.pause().await,
                Err(error) if comes_again(&error) => self.pause().await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_to_take(&self, ctx: &Context, line: &ImportLine) -> Result<Done, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return Ok(Done::replayed(logged)),
            Keyed::Fresh(key) => key,
        };
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        let entry = self.place_of(ctx, line);
        let entry = entry.ok_or_else(|| self.refused(Refusal::VariantNotFound))?;
        let command = Command::Import(Box::new(line.import.clone()));
        self.send(ctx, &entry, command, key).await
    }

    /// Where a line's variant lives, or would; `None` for a line that is about one that is there.
    fn place_of(&self, ctx: &Context, line: &ImportLine) -> Option<Arc<Entry>> {
        match line.import.level {
            Some(Level::Delta(_)) => self.directory.find(&ctx.store, &line.variant),
            Some(Level::Counted(_)) | None => Some(self.directory.place(&ctx.store, &line.variant)),
        }
    }

    /// The import's caller as one of its lines: with a key of its own and a deadline from now.
    pub(super) fn patient(&self, ctx: &Context, part: Option<u64>) -> Context {
        let key = part.and_then(|part| {
            let key = ctx.key?;
            Some(RequestKey {
                hash: key.hash.of_part(part),
                ..key
            })
        });
        let wait_ms = self.config.server.request_deadline.as_millis();
        Context {
            key,
            deadline: self.clock.now().saturating_add(wait_ms),
            ..ctx.clone()
        }
    }

    pub(super) async fn pause(&self) {
        let until = self.clock.now().saturating_add(PAUSE_MS);
        self.clock.sleep_until(until).await;
    }
}

/// Carries out an import whether or not its caller still waits for it.
async fn to_its_end(
    seat: ImportSeat,
    import: impl Future<Output = Result<Answered<ImportReport>, AppError>> + Send + 'static,
) -> Result<Answered<ImportReport>, AppError> {
    let running = tokio::spawn(async move {
        let done = import.await;
        drop(seat);
        done
    });
    let done = running.await;
    done.unwrap_or_else(|panic| Err(AppError::internal("an import panicked", &panic)))
}

/// What became of a line.
enum Taken {
    Created,
    Changed,
    Unchanged,
    Not(WhyNot),
}

fn taken(fact: &Fact) -> Result<Taken, AppError> {
    let Fact::Variant(fact) = fact else {
        return Err(AppError::KeyReused);
    };
    Ok(match fact.events.first() {
        Some(Event::Created { .. }) => Taken::Created,
        Some(_) | None => Taken::Changed,
    })
}

/// Whether a line that met this is to come again: the house was full for a moment.
pub(super) fn comes_again(error: &AppError) -> bool {
    matches!(
        error,
        AppError::Shed(Shed::Process | Shed::Variant | Shed::Reserved) | AppError::KeysFull | AppError::Late
    )
}

fn count(
    report: &mut ImportReport,
    stopped: &mut Option<AppError>,
    done: Result<Result<(ImportLine, Taken), AppError>, tokio::task::JoinError>,
) {
    let done = done.unwrap_or_else(|panic| Err(AppError::internal("a line of an import panicked", &panic)));
    let (line, taken) = match done {
        Ok(done) => done,
        Err(error) => {
            stopped.get_or_insert(error);
            return;
        }
    };
    let outcome = tally(report, line, taken);
    metrics().import_lines.of(outcome).increment(1);
}

/// Adds what became of a line to the report, and says how it counts.
fn tally(report: &mut ImportReport, line: ImportLine, taken: Taken) -> Outcome {
    match taken {
        Taken::Created => {
            report.created += 1;
            Outcome::Created
        }
        Taken::Changed => {
            report.changed += 1;
            Outcome::Changed
        }
        Taken::Unchanged => {
            report.unchanged += 1;
            Outcome::Unchanged
        }
        Taken::Not(why) => {
            let (line, variant) = (line.number, line.variant);
            report.fail(LineFailure { line, variant, why });
            Outcome::Failed
        }
    }
}

fn imported(
    fact: Fact,
    at: crate::domain::time::Timestamp,
    replayed: bool,
) -> Result<Answered<ImportReport>, AppError> {
    let Fact::Told(Told::Imported(report)) = fact else {
        return Err(AppError::KeyReused);
    };
    Ok(Answered {
        body: *report,
        at,
        replayed,
    })
}

impl ImportPlan {
    fn add(&mut self, line: ImportLine, judged: Result<(Option<Sheet>, Sheet), WhyNot>) {
        let (before, after) = match judged {
            Ok((Some(before), after)) if before == after => {
                self.report.unchanged += 1;
                return;
            }
            Ok(judged) => judged,
            Err(why) => {
                let (line, variant) = (line.number, line.variant);
                self.report.fail(LineFailure { line, variant, why });
                return;
            }
        };
        match before {
            None => self.report.created += 1,
            Some(_) => self.report.changed += 1,
        }
        if self.changes.len() == CHANGES_TOLD_MAX {
            self.changes_untold += 1;
            return;
        }
        self.changes.push(PlannedChange {
            line: line.number,
            variant: line.variant,
            before,
            after,
        });
    }
}

/// What reading every line once has shown.
#[derive(Default)]
struct Checked {
    /// Where each variant was first spoken of.
    first: HashMap<VariantId, u64>,
    faults: Vec<LineFault>,
    total: u64,
}

impl Checked {
    fn line(&mut self, line: &ImportLine, is_there: impl FnOnce() -> bool) {
        if let Some(first) = self.first.get(&line.variant).copied() {
            return self.fault(LineFault {
                line: line.number,
                member: Some("id".to_owned()),
                problem: format!("{} stands on line {first} too", line.variant),
                first_line: Some(first),
            });
        }
        if self.first.len() as u64 == IMPORT_LINES_MAX {
            return self.fault(LineFault {
                line: line.number,
                member: None,
                problem: format!("more than {IMPORT_LINES_MAX} lines: split the list"),
                first_line: None,
            });
        }
        self.first.insert(line.variant.clone(), line.number);
        if matches!(line.import.level, Some(Level::Delta(_))) && !is_there() {
            self.fault(LineFault {
                line: line.number,
                member: Some("delta".to_owned()),
                problem: format!("there is no variant {} whose units could change", line.variant),
                first_line: None,
            });
        }
    }

    fn fault(&mut self, fault: LineFault) {
        self.total += 1;
        if self.faults.len() < FAULTS_TOLD_MAX {
            self.faults.push(fault);
        }
    }

    fn result(self) -> Result<usize, AppError> {
        if self.total == 0 {
            return Ok(self.first.len());
        }
        Err(AppError::ImportFaults {
            faults: self.faults,
            total: self.total,
        })
    }
}

/// Reads lines in a thread of their own, no further ahead than they are taken.
fn feed(source: Arc<dyn ImportSource>) -> mpsc::Receiver<Result<ImportLine, AppError>> {
    let (sender, lines) = mpsc::channel(64);
    tokio::task::spawn_blocking(move || {
        for line in source.lines() {
            if sender.blocking_send(line.map_err(unreadable)).is_err() {
                return; // Nobody wants more.
            }
        }
    });
    lines
}

const _: () = assert!(FAILURES_TOLD_MAX == FAULTS_TOLD_MAX, "both answers are as long");

fn unreadable(error: NoLine) -> AppError {
    AppError::internal("a checked line could not be read", &error)
}
