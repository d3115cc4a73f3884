//! The policies of the stores. A policy is small and changes rarely: it is a value behind a lock, judged and logged
//! like any entity, read on every reserve.
//!
//! A change is judged by the latest policy, whose record may still be on its way to the disk. Everybody else, a caller who
//! reads it and a hold that takes its length from it, sees the durable one (decisions 6).
use super::{Answered, AppError, Context, Keyed, Shop};
use crate::{
    actor::{Answer, KeyClaim, Pending},
    config,
    domain::{
        ids::StoreId,
        policy::{ExpiredLines, HoldLengths, Limits, Policy},
        time::Timestamp,
        variant::Refusal,
    },
    storage::{
        projection::Projection,
        record::{Fact, Turn},
    },
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The policies by store; a store without one of its own has the configuration's.
#[derive(Debug)]
pub(super) struct Policies {
    default: Policy,
    durable: Arc<Projection>,
    /// What this process has queued, by store, with its record: never behind what is durable.
    latest: Mutex<HashMap<StoreId, (Policy, u64)>>,
}

impl Policies {
    pub(super) fn new(default: Policy, durable: Arc<Projection>) -> Self {
        Self {
            default,
            durable,
            latest: Mutex::default(),
        }
    }

    /// The durable policy of a store.
    pub(super) fn of(&self, store: &StoreId) -> Policy {
        self.durable.policy(store).unwrap_or(self.default)
    }
}

/// The policy that the configuration describes.
pub(super) fn configured(policy: &config::PolicyDefaults) -> Policy {
    let cart = HoldLengths {
        ttl_ms: policy.ttl.as_millis(),
        extension_ms: policy.extension.as_millis(),
        max_extensions: policy.max_extensions,
    };
    Policy {
        cart,
        guest: HoldLengths {
            ttl_ms: policy.guest_ttl.map_or(cart.ttl_ms, |ttl| ttl.as_millis()),
            ..cart
        },
        payment_ttl_ms: policy.payment_ttl.as_millis(),
        limits: Limits {
            units_per_order: policy.units_per_order,
            units_per_customer_per_variant: policy.units_per_customer_per_variant,
            lines_per_cart: policy.lines_per_cart,
            window_days: policy.limits_window_days,
        },
        cart_idle_ms: policy.cart_idle.as_millis(),
        max_ttl_ms: policy.max_ttl.as_millis(),
        expired_lines: ExpiredLines::Keep,
        version: 1,
    }
}

impl Shop {
    /// A store's policy.
    pub fn policy(&self, ctx: &Context) -> Answered<Policy> {
        Answered {
            body: self.policies.of(&ctx.store),
            at: self.clock.now(),
            replayed: false,
        }
    }

    /// Waits until a record that is queued already may be told.
    async fn durable(&self, ctx: &Context, number: u64) -> Result<(), AppError> {
        if self.directory.told() >= number {
            return Ok(());
        }
        // Those who wait are bounded like those who write.
        let _permit = self.admission.admit().map_err(AppError::Shed)?;
        match self.until(ctx.deadline, self.directory.caught_up()).await {
            Some(true) => Ok(()),
            Some(false) | None => Err(AppError::OutcomeUnknown),
        }
    }

    /// Replaces a store's policy; `expected` is the version the caller saw.
    ///
    /// # Errors
    /// A stale version, or an error of the way.
    pub async fn set_policy(
        &self,
        ctx: &Context,
        wanted: Policy,
        expected: u64,
    ) -> Result<Answered<Policy>, AppError> {
        let key = match self.claim(ctx).await? {
            Keyed::Known(logged) => return policy_of(logged.turn, true),
            Keyed::Fresh(key) => key,
        };
        let permit = self.admission.admit().map_err(AppError::Shed)?;
        let (port, answer) = oneshot::channel();
        let stale = {
            // Judged, applied and queued under one lock: the log has the same order as the changes.
            let mut latest = self.policies.latest.lock();
            let queued = latest.get(&ctx.store).copied();
            let (policy, number) = queued.unwrap_or_else(|| (self.policies.of(&ctx.store), 0));
            let now = self.clock.now();
            match policy.decide(wanted, expected, now) {
                Err(current) => Some((number, current, now)),
                Ok(changed) => {
                    let turn = Box::new(Turn {
                        at: now,
                        fact: Fact::Policy {
                            store: ctx.store.clone(),
                            changed,
                        },
                        key: key.as_ref().map(KeyClaim::mark),
                    });
                    let pending = Pending::Turn {
                        turn,
                        claim: key.map(|key| key.claim),
                        port: Some((port, None)),
                        permit: Some(permit),
                    };
                    // Refused only when the journal has ended, and with it the process.
                    if let Ok(number) = self.directory.append(pending) {
                        latest.insert(ctx.store.clone(), (changed.policy, number));
                    }
                    None
                }
            }
        };
        if let Some((number, current, at)) = stale {
            // The refusal cites a version: it waits for it (decisions 6).
            self.durable(ctx, number).await?;
            let refusal = Refusal::VersionMismatch { current };
            return Err(AppError::Refused { refusal, at });
        }
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => policy_of(logged.turn, false),
            Answer::Repeat { .. }
            | Answer::Variant(_)
            | Answer::Holds { .. }
            | Answer::Cart { .. }
            | Answer::Order { .. }
            | Answer::Count(_) => Err(AppError::bug("a policy was answered by something else")),
        }
    }
}

fn policy_of(turn: Turn, replayed: bool) -> Result<Answered<Policy>, AppError> {
    let at: Timestamp = turn.at;
    match turn.fact {
        Fact::Policy { changed, .. } => Ok(Answered {
            body: changed.policy,
            at,
            replayed,
        }),
        Fact::Variant(_)
        | Fact::Bulk { .. }
        | Fact::Gate(_)
        | Fact::Told(_)
        | Fact::Cart(_)
        | Fact::Order(_) => Err(AppError::KeyReused),
    }
}
