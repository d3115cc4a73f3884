//! Histories of a whole shop in this process: clients that race for one variant, hang up, ask again under their keys, and turn
//! the clock meanwhile.
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use holdfast::app::{AdjustAsk, Answered, AppError, Context, Reservation, Shop};
use holdfast::clock::ManualClock;
use holdfast::config::{JournalBackend, Length};
use holdfast::domain::ids::{ReservationId, VariantId};
use holdfast::domain::variant::{HoldStatus, Refusal, View};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::model::{Answer, Figures, Op, Stamp, Stand, Variant};
use super::search::{Call, History, NEVER};
use super::{CLIENTS, OPERATIONS, first_stock, next_op};
use crate::shop::{House, ctx, keyed, stock, variant, wish_for};

/// Histories from one shop, before it is killed and opened again.
const HISTORIES_A_LIFE: u64 = 25;

/// What the clients of one history share.
struct Race {
    shop: Arc<Shop>,
    clock: ManualClock,
    variant: VariantId,
    stamps: AtomicU64,
    holds: Mutex<Vec<(Stamp, ReservationId)>>,
}

impl Race {
    fn stamp(&self) -> Stamp {
        self.stamps.fetch_add(1, Ordering::SeqCst)
    }

    fn id_of(&self, of: Stamp) -> ReservationId {
        let holds = self.holds.lock();
        let found = holds.iter().find(|(stamp, _)| *stamp == of);
        found.expect("only what was granted is named").1
    }
}

async fn client(race: Arc<Race>, mut rng: Rng, name: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    for number in 0..OPERATIONS {
        let known: Vec<Stamp> = race.holds.lock().iter().map(|(stamp, _)| *stamp).collect();
        let op = next_op(&mut rng, &known, true);
        let called = race.stamp();
        let key = format!("{}-{name}-{number}", race.variant);
        let ctx = if rng.u8(0..3) == 0 {
            keyed(&key, &format!("{op:?}"))
        } else {
            ctx()
        };
        let mut answer = if rng.u8(0..40) == 0 {
            unless_hung_up(rng.u32(0..40), ask(&race, &ctx, &op, called)).await
        } else {
            Some(ask(&race, &ctx, &op, called).await)
        };
        if answer.is_none() && ctx.key.is_some() {
            answer = Some(ask(&race, &ctx, &op, called).await);
        }
        let returned = answer.as_ref().map_or(NEVER, |_| race.stamp());
        calls.push(Call {
            op,
            answer,
            called,
            returned,
        });
    }
    calls
}

/// The answer, unless the client hangs up after so many turns of other tasks.
async fn unless_hung_up<T>(turns: u32, asked: impl Future<Output = T>) -> Option<T> {
    let patience = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = asked => Some(answer),
        () = patience => None,
    }
}

async fn ask(race: &Race, ctx: &Context, op: &Op, called: Stamp) -> Answer {
    let shop = &race.shop;
    match op {
        Op::Reserve { quantity, ttl_ms } => {
            let ask = wish_for(*ttl_ms, race.variant.as_str(), u32::try_from(*quantity).unwrap());
            let done = shop.reserve(ctx, ask).await;
            if let Ok(answered) = &done {
                let id = answered.body.hold.id;
                let mut holds = race.holds.lock();
                assert!(
                    holds.iter().all(|(_, other)| *other != id),
                    "{id} was given out twice"
                );
                holds.push((called, id));
            }
            told(done)
        }
        Op::Release { of } => told(shop.release(ctx, race.id_of(*of)).await),
        Op::Confirm { of } => told(shop.confirm(ctx, race.id_of(*of), None, None).await),
        Op::Resize { of, quantity } => {
            let quantity = u32::try_from(*quantity).unwrap();
            told(shop.resize(ctx, race.id_of(*of), quantity).await)
        }
        Op::Adjust { delta } => {
            let ask = AdjustAsk {
                delta: *delta,
                reason: "recount".to_owned(),
                reference: None,
                expected_on_hand: None,
            };
            let done = shop.adjust_stock(ctx, &race.variant, ask, None).await;
            done.map_or_else(refused, |answered| seen(&answered.body.view))
        }
        Op::Look => {
            let done = shop.get_variant(ctx, &race.variant).await;
            done.map_or_else(refused, |answered| seen(&answered.body))
        }
        Op::LookAt { of } => told(shop.get_reservation(ctx, race.id_of(*of)).await),
        Op::Tick { ms } => {
            race.clock.advance(*ms);
            Answer::Turned
        }
    }
}

fn told(done: Result<Answered<Reservation>, AppError>) -> Answer {
    done.map_or_else(refused, |answered| {
        let hold = answered.body.hold;
        let stand = match hold.status {
            HoldStatus::Active => Stand::Live,
            HoldStatus::Confirmed => Stand::Sold,
            HoldStatus::Released => Stand::Released,
            HoldStatus::Expired => Stand::Expired,
            HoldStatus::Tentative => panic!("shown: {hold:?}"),
        };
        Answer::Hold {
            stand: Some(stand),
            quantity: Some(u64::from(hold.quantity)),
            until_ms: Some(hold.expires_at.as_millis()),
        }
    })
}

fn seen(view: &View) -> Answer {
    Answer::Seen(Figures {
        on_hand: view.head.on_hand,
        held: view.held,
        committed: view.committed,
        available: view.available.unwrap(),
    })
}

fn refused(error: AppError) -> Answer {
    match error {
        AppError::Refused { refusal, .. } => match refusal {
            Refusal::InsufficientStock { available, .. } => Answer::Short { available },
            Refusal::ReservationExpired { .. } => Answer::Ended(Stand::Expired),
            Refusal::ReservationReleased { .. } => Answer::Ended(Stand::Released),
            Refusal::ReservationConfirmed { .. } => Answer::Ended(Stand::Sold),
            Refusal::BelowHeld { least, .. } => Answer::TooLow { least },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// So many histories; how many states their searches looked at, and how many operations were never answered.
pub(super) fn check(backend: JournalBackend, histories: u64, seed: u64) -> (usize, usize) {
    let mut house = House::with(backend, |config| {
        // Variants go to sleep and wake up while they are raced for.
        config.actor.idle = Length::from_millis(3);
    });
    let (mut states, mut unknown) = (0, 0);
    for number in 0..histories {
        let mut rng = Rng::with_seed(seed ^ number);
        let history = record(&house, number, &mut rng);
        unknown += history.calls.iter().filter(|call| call.answer.is_none()).count();
        states += history.expect_linearizable();
        if number % HISTORIES_A_LIFE == HISTORIES_A_LIFE - 1 {
            house.run(async |shop| shop.checkpoint().await.unwrap());
            house.crash_and_open();
        }
    }
    (states, unknown)
}

pub(super) fn record(house: &House, number: u64, rng: &mut Rng) -> History {
    let name = format!("race-{number}");
    let first = first_stock(rng);
    let start = Variant::new(first, house.clock.now().as_millis());
    let calls = house.run(async |shop| {
        stock(&shop, &name, first).await;
        let race = Arc::new(Race {
            shop,
            clock: house.clock.clone(),
            variant: variant(&name),
            stamps: AtomicU64::new(1),
            holds: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for name in 0..CLIENTS {
            clients.spawn(client(Arc::clone(&race), rng.fork(), name));
        }
        clients.join_all().await.into_iter().flatten().collect()
    });
    History { start, calls }
}
