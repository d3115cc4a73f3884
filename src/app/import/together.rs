//! Imports that are taken over all or not at all; [`crate::actor::Together`] says how.
//!
//! Such a list is bounded by its lines and by what they come to in the log, and nothing happens before both are known to
//! fit. A refused line is a refusal of the whole list: it names every such line and is not remembered under the key, so
//! that a retry is judged afresh. What was done is remembered by the record that closes the list's group, and line by line
//! for the day when an operator puts the shop back to a record between two lines: a repeat has the rest done, all or nothing.
use super::{
    ImportLine, ImportPlan, ImportSeat, ImportSource, Keyed, MARK, Taken, imported, taken, tally, to_its_end,
    unreadable,
};
use crate::{
    actor::{
        Agreed, Answer, Closing, Draft, Entry, Judged, KeyClaim, NotDone, NotTogether, Shed, Together,
        Unroutable,
    },
    app::{Answered, AppError, Context, Shop, replay::blocking},
    domain::{
        bulk,
        time::Timestamp,
        variant::{ImportReport, LineFailure, Refusal, WhyNot},
    },
    storage::{
        journal::RejectReason,
        record::{Fact, Told, Turn},
    },
    telemetry::metrics::{ImportLine as Outcome, metrics},
};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::oneshot;

/// The most lines that are taken over as one.
pub const TOGETHER_MAX: usize = bulk::LINES_MAX;

/// How long the variants of a list may take to judge it, ms: shoppers wait meanwhile where one has judged its line.
const JUDGE_WITHIN_MS: i64 = 1_000;

impl Shop {
    /// What an import that is taken over as one would do, were it carried out now.
    ///
    /// # Errors
    /// As [`Shop::import_together`].
    pub async fn plan_import_together(
        &self,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
    ) -> Result<ImportPlan, AppError> {
        let lines = self.few_lines(ctx, source).await?;
        let (mut plan, mut failures) = (ImportPlan::default(), Vec::new());
        let total = lines.len();
        for line in lines {
            let judged = self.judge(ctx, &line).await?;
            if let Err(why) = &judged {
                failures.push(failure(&line, why.clone()));
            }
            plan.add(line, judged);
        }
        if !failures.is_empty() {
            let lines = total;
            return Err(AppError::ImportRefused { failures, lines });
        }
        Ok(plan)
    }

    /// Carries out an import, all lines or none. It goes on to its end even if nobody waits for it any more.
    ///
    /// # Errors
    /// Nothing was done: faults of form or reference, more than [`TOGETHER_MAX`] lines or more than a group of the log
    /// takes, every line that was refused, or an error of the way.
    pub async fn import_together(
        self: &Arc<Self>,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
        seat: ImportSeat,
    ) -> Result<Answered<ImportReport>, AppError> {
        let key = match self.claim_import(ctx).await? {
            Keyed::Known(logged) => return imported(logged.turn.fact, logged.turn.at, true),
            Keyed::Fresh(key) => key,
        };
        let lines = self.few_lines(ctx, source).await?;
        let (shop, ctx) = (Arc::clone(self), ctx.clone());
        to_its_end(seat, async move { shop.take_together(&ctx, lines, key).await }).await
    }

    /// The lines of a list that is short enough.
    async fn few_lines(
        &self,
        ctx: &Context,
        source: Arc<dyn ImportSource>,
    ) -> Result<Vec<ImportLine>, AppError> {
        let lines = self.check(ctx, Arc::clone(&source)).await?;
        if lines > TOGETHER_MAX {
            return Err(AppError::ImportTooLong { lines });
        }
        blocking(&*self.workers, move || {
            let lines = source.lines().map(|line| line.map_err(unreadable));
            lines.collect()
        })
        .await
    }

    async fn take_together(
        &self,
        ctx: &Context,
        lines: Vec<ImportLine>,
        key: Option<KeyClaim>,
    ) -> Result<Answered<ImportReport>, AppError> {
        let total = lines.len();
        let deadline = self.patient(ctx, None).deadline;
        let next = self.until(deadline, self.imports.together.acquire()).await;
        let next = next.ok_or(AppError::Shed(Shed::Reserved))?;
        let next = next.map_err(|closed| AppError::internal("no more imports", &closed))?;
        let Remembered { done, left } = self.remembered_lines(ctx, lines).await?;
        let list = self.until(deadline, Together::begin(&self.directory, left.len()));
        let mut list = list.await.ok_or(AppError::Shed(Shed::Reserved))?;
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let Drafts { drafts, failures } = self.drafts(ctx, &left, &mut list).await?;
        if !failures.is_empty() {
            drop((list, next));
            // The facts that refusals cite may still be on their way.
            let told = self.until(deadline, self.directory.caught_up()).await;
            return Err(if told.ok_or(AppError::Late)? {
                let lines = total;
                AppError::ImportRefused { failures, lines }
            } else {
                AppError::Shed(Shed::Draining)
            });
        }
        let mut report = ImportReport::default();
        let mut outcomes = Vec::with_capacity(total);
        for (line, taken) in done {
            outcomes.push(tally(&mut report, line, taken));
        }
        let mut agreed = Vec::with_capacity(left.len());
        for ((line, key), (entry, draft)) in left.into_iter().zip(drafts) {
            let taken = match &draft.turn {
                Some(turn) => taken(&turn.fact)?,
                None => Taken::Unchanged,
            };
            outcomes.push(tally(&mut report, line, taken));
            agreed.push(Agreed { entry, draft, key });
        }
        let (port, answer) = oneshot::channel();
        let closing = Closing {
            turn: Turn {
                at: self.clock.now(),
                fact: Fact::Told(Told::Imported(Box::new(report))),
                key: key.as_ref().map(KeyClaim::mark),
            },
            claim: key.map(|key| key.claim),
            port,
        };
        list.carry_out(agreed, closing).map_err(|nothing| match nothing {
            NotTogether::Lost => AppError::Late,
            NotTogether::Rejected(RejectReason::TooLarge) => AppError::ImportTooLarge {
                bytes_max: self.config.journal.group_bytes.as_usize(),
            },
            NotTogether::Rejected(RejectReason::Closed) => AppError::Shed(Shed::Draining),
        })?;
        drop(next);
        for outcome in outcomes {
            metrics().import_lines.of(outcome).increment(1);
        }
        match self.answer(&self.patient(ctx, None), answer).await? {
            Answer::Logged(logged) => imported(logged.turn.fact, logged.turn.at, false),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Holds { .. }
            | Answer::Count(_) => Err(AppError::bug("an import was answered by something else")),
        }
    }

    /// What the lines' own keys remember. Nothing, as a rule: only a restore cuts between the lines of a list. One under the
    /// import's mark is of another request, which took its lines one by one and was interrupted.
    async fn remembered_lines(&self, ctx: &Context, lines: Vec<ImportLine>) -> Result<Remembered, AppError> {
        let mut remembered = Remembered::default();
        if let Keyed::Known(_) = self.claim(&self.patient(ctx, Some(MARK))).await? {
            return Err(AppError::KeyReused);
        }
        for line in lines {
            match self.claim(&self.patient(ctx, Some(line.number))).await? {
                Keyed::Known(logged) => remembered.done.push((line, taken(&logged.turn.fact)?)),
                Keyed::Fresh(key) => remembered.left.push((line, key)),
            }
        }
        Ok(remembered)
    }

    /// What every variant says to its line, in the list's order. All are asked before the first is heard.
    ///
    /// # Errors
    /// Not every variant could be heard: shoppers wait for the others meanwhile, so the list comes again.
    async fn drafts(
        &self,
        ctx: &Context,
        lines: &[(ImportLine, Option<KeyClaim>)],
        list: &mut Together,
    ) -> Result<Drafts, AppError> {
        let deadline = self.clock.now().saturating_add(JUDGE_WITHIN_MS);
        let mut asked = Vec::with_capacity(lines.len());
        for (line, _) in lines {
            asked.push((line, self.ask_for_draft(ctx, line, list, deadline)?));
        }
        let mut heard = Drafts::default();
        for (line, asked) in asked {
            let told = match asked {
                Ok((entry, answer)) => self.hear(deadline, answer).await?.map(|draft| (entry, draft)),
                Err(why_not) => Err(why_not),
            };
            match told {
                Ok(draft) => heard.drafts.push(draft),
                Err(why) => heard.failures.push(failure(line, why)),
            }
        }
        let refused = metrics().import_lines.of(Outcome::Failed);
        refused.increment(heard.failures.len() as u64);
        Ok(heard)
    }

    /// Asks a line's variant, or says why that refuses without being asked.
    ///
    /// # Errors
    /// It cannot be known now.
    fn ask_for_draft(
        &self,
        ctx: &Context,
        line: &ImportLine,
        list: &mut Together,
        deadline: Timestamp,
    ) -> Result<Result<Asked, WhyNot>, AppError> {
        let Some(entry) = self.place_of(ctx, line) else {
            return Ok(Err(WhyNot::Refused(Refusal::VariantNotFound)));
        };
        if self.directory.is_rebuilding(&entry) {
            return Err(AppError::Late);
        }
        entry.commands.fetch_add(1, Ordering::Relaxed);
        match list.ask(&entry, line.import.clone(), deadline) {
            Ok(answer) => Ok(Ok((entry, answer))),
            Err(Unroutable::Quarantined) => Ok(Err(WhyNot::Quarantined)),
            // The place was given up between finding it and sending there.
            Err(Unroutable::Gone) => Err(AppError::Late),
        }
    }

    /// What a variant says to its line.
    ///
    /// # Errors
    /// It did not answer in time, or its actor died with the question.
    async fn hear(
        &self,
        deadline: Timestamp,
        answer: oneshot::Receiver<Judged>,
    ) -> Result<Result<Draft, WhyNot>, AppError> {
        match self.until(deadline, answer).await {
            Some(Ok(Ok(draft))) => Ok(Ok(draft)),
            Some(Ok(Err(NotDone::Refused { refusal, .. }))) => Ok(Err(WhyNot::Refused(refusal))),
            Some(Ok(Err(NotDone::Quarantined))) => Ok(Err(WhyNot::Quarantined)),
            Some(Ok(Err(
                NotDone::Late | NotDone::Crowded | NotDone::CartRefused { .. } | NotDone::OrderRefused { .. },
            )))
            | Some(Err(_))
            | None => Err(AppError::Late),
        }
    }
}

/// What is remembered of a list, by its lines.
#[derive(Default)]
struct Remembered {
    done: Vec<(ImportLine, Taken)>,
    left: Vec<(ImportLine, Option<KeyClaim>)>,
}

/// A variant that was asked, and its answer.
type Asked = (Arc<Entry>, oneshot::Receiver<Judged>);

/// What the variants said to their lines.
#[derive(Default)]
struct Drafts {
    /// Of every line while nobody refuses.
    drafts: Vec<(Arc<Entry>, Draft)>,
    failures: Vec<LineFailure>,
}

fn failure(line: &ImportLine, why: WhyNot) -> LineFailure {
    LineFailure {
        line: line.number,
        variant: line.variant.clone(),
        why,
    }
}
