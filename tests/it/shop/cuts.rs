//! A log cut off behind any record, as a crash leaves it: what was under way is undone or done, and a retry under the same
//! key has one effect and one answer.
use super::{
    Audit, House, ctx, get, hold, in_cart, keyed, on_both_logs, small, stock, until_ok, variant, view, wish,
};
use holdfast::{
    app::{BulkAsk, BulkDone, BulkWhat, ReserveAsk, Shop},
    config::JournalBackend,
    domain::{
        bulk::{Event, LineOutcome, Mode},
        ids::{CartId, ReservationId},
        variant::{HoldStatus, Shopper},
    },
    storage::record::{Fact, Turn},
};

on_both_logs! {
    a_bulk_cut_behind_any_record_has_one_outcome_a_line,
    a_cart_given_back_and_cut_behind_any_record_is_given_back_once,
}

/// What a bulk does in these stories.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Reserve,
    Extend,
    Confirm,
    Release,
}

/// The shop before the bulk: a reservation of "a", one of "b", and one that was given back.
async fn before(shop: &Shop) -> [ReservationId; 3] {
    stock(shop, "a", 10).await;
    stock(shop, "b", 10).await;
    let ids = [
        hold(shop, "a", 2).await.id,
        hold(shop, "b", 2).await.id,
        hold(shop, "b", 1).await.id,
    ];
    shop.release(&ctx(), ids[2]).await.unwrap();
    ids
}

/// Two lines that can be done, and with best effort one that cannot.
fn ask(doing: Doing, mode: Mode, ids: &[ReservationId; 3]) -> BulkAsk {
    let lines = if mode == Mode::BestEffort { 3 } else { 2 };
    let ids = ids[..lines].to_vec();
    let what = match doing {
        Doing::Reserve => BulkWhat::Reserve {
            lines: ["a", "b", "nowhere"][..lines]
                .iter()
                .map(|id| (variant(id), 1))
                .collect(),
            shopper: Shopper::default(),
            ttl_ms: None,
        },
        Doing::Extend => BulkWhat::Extend { ids, by_ms: None },
        Doing::Confirm => BulkWhat::Confirm(ids),
        Doing::Release => BulkWhat::Release(ids),
    };
    BulkAsk { mode, what }
}

/// How many times the work of the two lines was done: in the variants, or in the reservations.
async fn times_done(shop: &Shop, doing: Doing, ids: &[ReservationId; 3]) -> [u64; 2] {
    let mut times = [0; 2];
    for ((id, held), times) in ids.iter().zip(["a", "b"]).zip(&mut times) {
        *times = match doing {
            Doing::Reserve => view(shop, held).await.held - 2,
            Doing::Extend => u64::from(3 - get(shop, *id).await.extensions_left),
            Doing::Confirm => view(shop, held).await.committed / 2,
            Doing::Release => u64::from(get(shop, *id).await.status == HoldStatus::Released),
        };
    }
    times
}

/// Which record of a log is the coordinator's decision.
fn decision(audit: &Audit) -> usize {
    let decides = |turn: &Turn| {
        matches!(
            &turn.fact,
            Fact::Bulk {
                event: Event::Decided { .. },
                ..
            }
        )
    };
    audit.turns.iter().position(decides).unwrap()
}

fn a_bulk_cut_behind_any_record_has_one_outcome_a_line(backend: JournalBackend) {
    for mode in [Mode::BestEffort, Mode::AllOrNothing] {
        for doing in [Doing::Reserve, Doing::Extend, Doing::Confirm, Doing::Release] {
            bulk_cut_everywhere(backend, mode, doing);
        }
    }
}

fn bulk_cut_everywhere(backend: JournalBackend, mode: Mode, doing: Doing) {
    let retry = keyed("k", "the bulk");
    let mut whole = House::new(backend);
    let (ids, told, from) = whole.run(async |shop| {
        let ids = before(&shop).await;
        let from = shop
            .reserve(&keyed("last", "before"), wish("a", 3))
            .await
            .unwrap();
        shop.release(&ctx(), from.body.hold.id).await.unwrap();
        let told = shop.bulk(&retry, ask(doing, mode, &ids)).await.unwrap();
        // The third was given back long ago: there is nothing to do but to give it back.
        let third = matches!(doing, Doing::Release);
        assert_eq!(
            done_lines(&told.body),
            [true, true, third][..told.body.lines.len()]
        );
        (ids, told.body, from.body.hold.id)
    });
    whole.close();
    let audit = whole.audit();
    let released = |turn: &Turn| {
        matches!(&turn.fact, Fact::Variant(fact)
        if fact.events.iter().any(|event| event.hold().is_some_and(|hold| hold.id == from
            && hold.status == HoldStatus::Released)))
    };
    let begin = audit.turns.iter().position(released).unwrap() + 1;
    let decision = decision(&audit);
    assert!(decision >= begin + 3, "intent and two promises come before it");
    for cut in begin..=audit.turns.len() {
        let case = format!("{mode:?} {doing:?} cut behind {cut}, decided at {decision}");
        let mut house = House::from_log(backend, &audit.turns[..cut], small);
        let decided = cut > decision;
        house.run(async |shop| {
            let expected = if decided { [1, 1] } else { [0, 0] };
            assert_eq!(times_done(&shop, doing, &ids).await, expected, "{case}");
            let again = shop.bulk(&retry, ask(doing, mode, &ids)).await.unwrap();
            assert_eq!(again.replayed, decided, "{case}");
            assert_eq!(done_lines(&again.body), done_lines(&told), "{case}");
            if decided {
                assert_eq!(
                    format!("{:?}", again.body),
                    format!("{told:?}"),
                    "byte by byte: {case}"
                );
            }
            assert_eq!(times_done(&shop, doing, &ids).await, [1, 1], "{case}");
        });
        house.crash_and_open();
        house.run(async |shop| {
            let again = shop.bulk(&retry, ask(doing, mode, &ids)).await.unwrap();
            assert!(again.replayed, "{case}");
            assert_eq!(times_done(&shop, doing, &ids).await, [1, 1], "{case}");
        });
        house.close();
        let audit = house.audit();
        assert!(audit.checker.bulks().next().is_none(), "{case}");
        assert_eq!(audit.holds(|hold| hold.pin.is_some()).count(), 0, "{case}");
    }
}

/// Line by line whether it was done.
pub(super) fn done_lines(done: &BulkDone) -> Vec<bool> {
    done.lines
        .iter()
        .map(|(_, outcome)| matches!(outcome, LineOutcome::Done(_)))
        .collect()
}

async fn put_in_cart(shop: &Shop, id: &str, cart: &str) {
    let ask = ReserveAsk {
        shopper: in_cart("ada", cart),
        ..wish(id, 1)
    };
    until_ok(async || shop.reserve(&ctx(), ask.clone()).await).await;
}

fn a_cart_given_back_and_cut_behind_any_record_is_given_back_once(backend: JournalBackend) {
    let (retry, cart) = (keyed("k", "cart-1"), CartId::parse("cart-1").unwrap());
    let held = async |shop: &Shop| {
        view(shop, "a").await.held + view(shop, "b").await.held + view(shop, "c").await.held
    };
    let mut whole = House::new(backend);
    whole.run(async |shop| {
        for id in ["a", "b", "c"] {
            stock(&shop, id, 10).await;
        }
        for (id, cart) in [("a", "cart-1"), ("a", "cart-1"), ("b", "cart-1"), ("c", "cart-2")] {
            put_in_cart(&shop, id, cart).await;
        }
        assert!(!shop.release_cart(&retry, cart.clone()).await.unwrap().replayed);
        assert_eq!(held(&shop).await, 1);
    });
    whole.close();
    let audit = whole.audit();
    let decision = decision(&audit);
    // The gate of the log, three variants, four holds.
    for cut in 8..=audit.turns.len() {
        let case = format!("cut behind {cut}, decided at {decision}");
        let mut house = House::from_log(backend, &audit.turns[..cut], small);
        let decided = cut > decision;
        house.run(async |shop| {
            let expected = if decided { 1 } else { 4 };
            assert_eq!(held(&shop).await, expected, "all of the cart or nothing: {case}");
            let again = shop.release_cart(&retry, cart.clone()).await.unwrap();
            assert_eq!(again.replayed, decided, "{case}");
            assert_eq!(held(&shop).await, 1, "{case}");
            put_in_cart(&shop, "b", "cart-1").await;
        });
        house.crash_and_open();
        house.run(async |shop| {
            assert!(
                shop.release_cart(&retry, cart.clone()).await.unwrap().replayed,
                "{case}"
            );
            assert_eq!(held(&shop).await, 2, "what was held since stays: {case}");
        });
        house.close();
        house.audit();
    }
}
