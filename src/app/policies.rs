//! The policies of the stores. A policy is small and changes rarely: it is a value behind a lock, judged and logged
//! like any entity, read on every reserve.
use super::{Answered, AppError, Context, Keyed, Shop};
use crate::{
    actor::{Answer, KeyClaim, Pending},
    config,
    domain::{
        ids::StoreId,
        policy::{ExpiredLines, HoldLengths, Limits, Policy},
        time::Timestamp,
    },
    storage::{
        dto,
        record::{Fact, Turn},
    },
};
use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::oneshot;

/// The policies by store; a store without one of its own has the configuration's.
#[derive(Debug)]
pub(super) struct Policies {
    default: Policy,
    own: RwLock<HashMap<StoreId, Policy>>,
}

impl Policies {
    pub(super) fn new(default: Policy, own: impl IntoIterator<Item = (StoreId, Policy)>) -> Self {
        Self {
            default,
            own: RwLock::new(own.into_iter().collect()),
        }
    }

    pub(super) fn of(&self, store: &StoreId) -> Policy {
        let own = self.own.read();
        own.get(store).copied().unwrap_or(self.default)
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
        {
            // Judged, applied and queued under one lock: the log has the same order as the changes.
            let mut own = self.policies.own.write();
            let policy = own.get(&ctx.store).copied().unwrap_or(self.policies.default);
            let now = self.clock.now();
            let changed = policy
                .decide(wanted, expected, now)
                .map_err(|current| AppError::Refused {
                    refusal: crate::domain::variant::Refusal::VersionMismatch { current },
                    at: now,
                })?;
            own.insert(ctx.store.clone(), changed.policy);
            let fact = Fact::Policy {
                store: ctx.store.clone(),
                changed,
            };
            let turn = Box::new(Turn {
                at: now,
                fact,
                key: key.as_ref().map(KeyClaim::mark),
            });
            let payload = dto::encode_turn(&turn);
            let claim = key.map(|key| key.claim);
            let pending = Pending::Turn {
                turn,
                claim,
                port: Some((port, None)),
                permit: Some(permit),
            };
            // Refused only when the journal has ended, and with it the process.
            let _ = self.directory.append(payload, pending);
        }
        match self.answer(ctx, answer).await? {
            Answer::Logged(logged) => policy_of(logged.turn, false),
            Answer::Repeat { .. } | Answer::Variant(_) | Answer::Holds { .. } | Answer::Count(_) => {
                Err(AppError::bug("a policy was answered by something else"))
            }
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
        Fact::Variant(_) | Fact::Bulk { .. } | Fact::Cart(_) | Fact::Order(_) => Err(AppError::KeyReused),
    }
}
