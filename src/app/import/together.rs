//! Imports that are taken over all or not at all; [`crate::actor::Together`] says how.
//!
//! Such a list is bounded by its lines and by what they come to in the log, and nothing happens before both are known to
//! fit. A refused line is a refusal of the whole list: it names every such line and is not remembered under the key, so
//! that a retry is judged afresh. What was done is remembered by the record that closes the list's group.
use super::{
    ImportLine, ImportPlan, ImportSeat, ImportSource, Keyed, Taken, feed, imported, taken, tally, to_its_end,
};
use crate::{
    actor::{
        Answer, Closing, Draft, Entry, Judged, KeyClaim, NotDone, NotTogether, Shed, Together, Unroutable,
    },
    app::{Answered, AppError, Context, Shop},
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
        all_agree(failures, total)?;
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
        let (mut lines, mut read) = (Vec::new(), feed(source));
        while let Some(line) = read.recv().await {
            lines.push(line?);
        }
        Ok(lines)
    }

    async fn take_together(
        &self,
        ctx: &Context,
        lines: Vec<ImportLine>,
        key: Option<KeyClaim>,
    ) -> Result<Answered<ImportReport>, AppError> {
        let next = self.imports.together.acquire().await;
        let next = next.map_err(|closed| AppError::internal("no more imports", &closed))?;
        if self.is_draining() {
            return Err(AppError::Shed(Shed::Draining));
        }
        if self.disk_is_low() {
            return Err(AppError::DiskReserve);
        }
        let mut list = Together::begin(&self.directory, lines.len()).await;
        let drafts = match self.drafts(ctx, &lines, &mut list).await {
            Ok(drafts) => drafts,
            Err(error) => {
                drop(list);
                // The facts that refusals cite may still be on their way.
                let told = self.directory.caught_up().await;
                return Err(if told {
                    error
                } else {
                    AppError::Shed(Shed::Draining)
                });
            }
        };
        let mut report = ImportReport::default();
        let mut outcomes = Vec::with_capacity(lines.len());
        for (line, (_, draft)) in lines.into_iter().zip(&drafts) {
            let taken = match &draft.turn {
                Some(turn) => taken(&turn.fact)?,
                None => Taken::Unchanged,
            };
            outcomes.push(tally(&mut report, line, taken));
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
        list.carry_out(drafts, closing).map_err(|nothing| match nothing {
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

    /// What every variant says to its line, in the list's order. All are asked before the first is heard.
    async fn drafts(
        &self,
        ctx: &Context,
        lines: &[ImportLine],
        list: &mut Together,
    ) -> Result<Vec<(Arc<Entry>, Draft)>, AppError> {
        let deadline = self.clock.now().saturating_add(JUDGE_WITHIN_MS);
        let asked = lines
            .iter()
            .map(|line| self.ask_for_draft(ctx, line, list, deadline));
        let asked: Vec<_> = asked.collect();
        let (mut drafts, mut failures, mut unheard) = (Vec::with_capacity(lines.len()), Vec::new(), false);
        for (line, asked) in lines.iter().zip(asked) {
            let heard = match asked {
                Ok((entry, answer)) => self.hear(deadline, answer).await.map(|draft| (entry, draft)),
                Err(why_not) => Err(why_not),
            };
            match heard {
                Ok(draft) => drafts.push(draft),
                Err(Some(why)) => failures.push(failure(line, why)),
                Err(None) => unheard = true,
            }
        }
        if unheard {
            return Err(AppError::Late); // Not every line that would be refused is known.
        }
        let refused = metrics().import_lines.of(Outcome::Failed);
        refused.increment(failures.len() as u64);
        all_agree(failures, lines.len())?;
        Ok(drafts)
    }

    /// Asks a line's variant; otherwise why it refuses, as far as that is known.
    fn ask_for_draft(
        &self,
        ctx: &Context,
        line: &ImportLine,
        list: &mut Together,
        deadline: Timestamp,
    ) -> Result<(Arc<Entry>, oneshot::Receiver<Judged>), Option<WhyNot>> {
        let not_found = || Some(WhyNot::Refused(Refusal::VariantNotFound));
        let entry = self.place_of(ctx, line).ok_or_else(not_found)?;
        entry.commands.fetch_add(1, Ordering::Relaxed);
        let asked = list.ask(&entry, line.import.clone(), deadline);
        match asked {
            Ok(answer) => Ok((entry, answer)),
            Err(Unroutable::Quarantined) => Err(Some(WhyNot::Quarantined)),
            // The place was given up between finding it and sending there.
            Err(Unroutable::Gone) => Err(None),
        }
    }

    async fn hear(
        &self,
        deadline: Timestamp,
        answer: oneshot::Receiver<Judged>,
    ) -> Result<Draft, Option<WhyNot>> {
        match self.until(deadline, answer).await {
            Some(Ok(Ok(draft))) => Ok(draft),
            Some(Ok(Err(NotDone::Refused { refusal, .. }))) => Err(Some(WhyNot::Refused(refusal))),
            Some(Ok(Err(NotDone::Quarantined))) => Err(Some(WhyNot::Quarantined)),
            // It had no time for it, or its actor died with the question.
            Some(Ok(Err(
                NotDone::Late | NotDone::Crowded | NotDone::CartRefused { .. } | NotDone::OrderRefused { .. },
            )))
            | Some(Err(_))
            | None => Err(None),
        }
    }
}

fn failure(line: &ImportLine, why: WhyNot) -> LineFailure {
    LineFailure {
        line: line.number,
        variant: line.variant.clone(),
        why,
    }
}

/// Whether the list can be had.
fn all_agree(failures: Vec<LineFailure>, lines: usize) -> Result<(), AppError> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(AppError::ImportRefused { failures, lines })
}
