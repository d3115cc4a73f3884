//! Idempotency keys on the way of a request: claimed before anything else is looked at, answered from the record behind
//! them, and remembered for every success (decisions 1).
//!
//! Most successes have a record that says what happened, and it carries the key. One that changed nothing (a sale
//! confirmed again, a reservation that was given back already) or nothing that one record could say has none: under a key
//! it gets one, [`Told`], which says nothing but what was answered. Its key is claimed anew for that when the command that
//! came to nothing has given it back; a duplicate that came in between is answered by whoever is first.
use super::{Answered, AppError, Context, RequestKey, Reservation, Shop};
use crate::{
    actor::{Answer, KeyClaim, Logged, Pending, Permit},
    domain::variant::Hold,
    storage::{
        keys::{Fingerprint, KeyLookupError, Settled},
        record::{Fact, Told, Turn},
    },
};
use tokio::sync::oneshot;

/// What a key came to.
pub(super) enum Keyed {
    /// It is claimed, if there is one.
    Fresh(Option<KeyClaim>),
    /// It was answered by this record.
    Known(Box<Logged>),
}

impl Shop {
    /// Claims the caller's key; waits for the answer of the same request on its way.
    pub(super) async fn claim(&self, ctx: &Context) -> Result<Keyed, AppError> {
        let Some(RequestKey { hash, fingerprint }) = ctx.key else {
            return Ok(Keyed::Fresh(None));
        };
        loop {
            let settled = self
                .until(ctx.deadline, self.keys.settle(hash, fingerprint))
                .await;
            let Ok(Settled::Known { number }) = settled.as_ref().ok_or(AppError::OutcomeUnknown)? else {
                return self.claimed(settled.ok_or(AppError::OutcomeUnknown)?, fingerprint);
            };
            match self.logged(*number, hash).await? {
                Some(logged) => return Ok(Keyed::Known(Box::new(logged))),
                // Past its retention: neither record nor row is left, so it may be used anew.
                None => self.keys.forget(hash, *number),
            }
        }
    }

    fn claimed(
        &self,
        settled: Result<Settled, KeyLookupError>,
        fingerprint: Fingerprint,
    ) -> Result<Keyed, AppError> {
        match settled {
            // At its limit on the disk the table takes no new key; dropping the claim frees it.
            Ok(Settled::Fresh(_)) if self.disk.keys_are_full() => Err(AppError::KeysFull),
            Ok(Settled::Fresh(claim)) => Ok(Keyed::Fresh(Some(KeyClaim { claim, fingerprint }))),
            Ok(Settled::Known { .. }) => Err(AppError::bug("a known key was not answered from its record")),
            Ok(Settled::Mismatch) => Err(AppError::KeyReused),
            Ok(Settled::Full) => Err(AppError::KeysFull),
            Err(error) => Err(AppError::internal(
                "an idempotency key could not be looked up",
                &error,
            )),
        }
    }

    /// Writes down what a keyed request is told, and returns when that is durable. `permit` is its slot in the journal.
    pub(super) async fn tell(
        &self,
        ctx: &Context,
        key: KeyClaim,
        permit: Permit,
        told: Told,
    ) -> Result<Logged, AppError> {
        let (port, answer) = oneshot::channel();
        let turn = Box::new(Turn {
            at: self.clock.now(),
            fact: Fact::Told(told),
            key: Some(key.mark()),
        });
        let pending = Pending::Turn {
            turn,
            claim: Some(key.claim),
            port: Some((port, None)),
            permit: Some(permit),
        };
        // Refused only when the journal has ended, and with it the process.
        let _ = self.directory.append(pending);
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => Ok(*logged),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Holds { .. }
            | Answer::Count(_) => Err(AppError::bug("what was told was answered by something else")),
        }
    }

    /// A reservation's success that left no record: remembered under the caller's key, if there is one.
    pub(super) async fn remembered(
        &self,
        ctx: &Context,
        answered: Answered<Reservation>,
    ) -> Result<Answered<Reservation>, AppError> {
        let (logged, replayed) = match self.claim(ctx).await? {
            Keyed::Fresh(None) => return Ok(answered),
            Keyed::Known(logged) => (*logged, true),
            Keyed::Fresh(Some(key)) => {
                let permit = self.admission.admit().map_err(AppError::Shed)?;
                let hold = Box::new(answered.body.hold);
                let told = self.tell(ctx, key, permit, Told::Reservation(hold)).await?;
                (told, false)
            }
        };
        let (hold, at) = hold_of(logged)?;
        Ok(Answered {
            body: Reservation {
                hold,
                ..answered.body
            },
            at,
            replayed,
        })
    }
}

/// The reservation that a record answers with, and the moment to tell.
pub(super) fn hold_of(logged: Logged) -> Result<(Hold, crate::domain::time::Timestamp), AppError> {
    let at = logged.turn.at;
    match logged.turn.fact {
        Fact::Variant(fact) => {
            let hold = fact.events.last().and_then(|event| event.hold()).cloned();
            let hold = hold.ok_or_else(|| AppError::bug("the record behind an answer has no reservation"))?;
            Ok((hold, at))
        }
        Fact::Told(Told::Reservation(hold)) => {
            let at = hold.told_at(at);
            Ok((*hold, at))
        }
        Fact::Told(
            Told::Done | Told::Variant(_) | Told::CleanedUp { .. } | Told::Imported(_) | Told::Snapshot(_),
        )
        | Fact::Policy { .. }
        | Fact::Gate(_)
        | Fact::Bulk { .. }
        | Fact::Cart(_)
        | Fact::Order(_) => Err(AppError::KeyReused),
    }
}
