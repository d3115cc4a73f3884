//! The fates of a key, and the law ONCE_PER_KEY under threads.
use super::*;
use std::collections::HashMap as StdMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Older keys as a plain map, with a hook that runs in the middle of a look back.
#[derive(Default)]
struct Disk {
    entries: Mutex<StdMap<KeyHash, KeyEntry>>,
    during_find: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    broken: bool,
}

impl OlderKeys for Disk {
    fn find(&self, hash: &KeyHash) -> Result<Option<KeyEntry>, KeyLookupError> {
        if self.broken {
            return Err(KeyLookupError {
                source: "a bad sector".into(),
            });
        }
        let hook = self.during_find.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        Ok(self.entries.lock().get(hash).copied())
    }
}

fn table(memory_max: usize) -> (KeyTable, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    (KeyTable::new(memory_max, disk.clone()), disk)
}

fn key(text: &str) -> KeyHash {
    KeyHash::of("default", "shop", text)
}

fn ask(body: &str) -> Fingerprint {
    Fingerprint::of("POST /api/stock/reservations", "123", body.as_bytes())
}

fn fresh(table: &KeyTable, hash: KeyHash, fingerprint: Fingerprint) -> Claim {
    let claimed = table.claim(hash, fingerprint).unwrap();
    let Claimed::Fresh(claim) = claimed else {
        panic!("expected a fresh key, got {claimed:?}")
    };
    claim
}

fn waiter(table: &KeyTable, hash: KeyHash, fingerprint: Fingerprint) -> Waiter {
    let claimed = table.claim(hash, fingerprint).unwrap();
    let Claimed::InFlight(waiter) = claimed else {
        panic!("expected to wait, got {claimed:?}")
    };
    waiter
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn the_stored_hashes_are_frozen() {
    assert_eq!(
        format!("{:?}", key("k-1")),
        "KeyHash(9f0bce65f6633f85bc7ad32d2c6000c4)"
    );
    assert_eq!(u64::from_be_bytes(ask("{}").0), 2_692_425_514_046_534_577);
    let entry = KeyEntry {
        fingerprint: Fingerprint([1; 8]),
        number: 0x0203,
    };
    assert_eq!(entry.to_bytes(), [1, 1, 1, 1, 1, 1, 1, 1, 3, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(KeyEntry::from_bytes(&entry.to_bytes()), Some(entry));
    assert_eq!(KeyEntry::from_bytes(&entry.to_bytes()[1..]), None);
}

#[test]
fn the_parts_of_a_key_do_not_run_together() {
    assert_ne!(KeyHash::of("a", "bc", "d"), KeyHash::of("ab", "c", "d"));
    assert_ne!(Fingerprint::of("r", "12", b"3"), Fingerprint::of("r", "1", b"23"));
}

#[test]
fn a_duplicate_in_flight_waits_for_the_same_record() {
    let (table, _) = table(8);
    let claim = fresh(&table, key("a"), ask("1"));
    let (first, second) = (
        waiter(&table, key("a"), ask("1")),
        waiter(&table, key("a"), ask("1")),
    );
    claim.fill(7);
    assert_eq!(block_on(first), Waited::Known { number: 7 });
    assert_eq!(block_on(second), Waited::Known { number: 7 });
    assert!(matches!(
        table.claim(key("a"), ask("1")).unwrap(),
        Claimed::Known { number: 7 }
    ));
}

#[test]
fn a_refusal_frees_the_key_and_the_waiter_is_judged_afresh() {
    let (table, _) = table(8);
    let claim = fresh(&table, key("a"), ask("1"));
    let waiting = waiter(&table, key("a"), ask("1"));
    drop(claim);
    assert_eq!(block_on(waiting), Waited::ClaimAgain);
    fresh(&table, key("a"), ask("another body is fine now")).fill(1);
}

#[test]
fn settle_waits_through_refusals_until_there_is_a_fact() {
    let (table, _) = table(8);
    let claim = fresh(&table, key("a"), ask("1"));
    block_on(async {
        let settled = tokio::join!(table.settle(key("a"), ask("1")), async {
            drop(claim);
        });
        let Ok(Settled::Fresh(second)) = settled.0 else {
            panic!("{settled:?}")
        };
        let settled = tokio::join!(table.settle(key("a"), ask("1")), async { second.fill(9) });
        assert!(
            matches!(settled.0, Ok(Settled::Known { number: 9 })),
            "{settled:?}"
        );
    });
}

#[test]
fn another_request_is_found_out_in_flight_in_memory_and_on_disk() {
    let (table, disk) = table(8);
    let claim = fresh(&table, key("a"), ask("1"));
    assert!(matches!(
        table.claim(key("a"), ask("2")).unwrap(),
        Claimed::Mismatch
    ));
    claim.fill(1);
    assert!(matches!(
        table.claim(key("a"), ask("2")).unwrap(),
        Claimed::Mismatch
    ));
    disk.entries.lock().insert(
        key("old"),
        KeyEntry {
            fingerprint: ask("1"),
            number: 5,
        },
    );
    assert!(matches!(
        table.claim(key("old"), ask("2")).unwrap(),
        Claimed::Mismatch
    ));
    assert!(matches!(
        table.claim(key("old"), ask("1")).unwrap(),
        Claimed::Known { number: 5 }
    ));
    assert_eq!(table.len(), 1, "a key found on disk is not claimed");
}

#[test]
fn a_true_repeat_is_not_refused_because_a_mismatch_is_just_being_looked_up() {
    let (table, disk) = table(8);
    disk.entries.lock().insert(
        key("old"),
        KeyEntry {
            fingerprint: ask("1"),
            number: 5,
        },
    );
    let waiting = Arc::new(Mutex::new(None));
    *disk.during_find.lock() = Some(Box::new({
        let (table, waiting) = (table.clone(), waiting.clone());
        move || *waiting.lock() = Some(waiter(&table, key("old"), ask("1")))
    }));
    assert!(matches!(
        table.claim(key("old"), ask("2")).unwrap(),
        Claimed::Mismatch
    ));
    let waiting = waiting.lock().take().unwrap();
    assert_eq!(block_on(waiting), Waited::ClaimAgain);
    assert!(matches!(
        table.claim(key("old"), ask("1")).unwrap(),
        Claimed::Known { number: 5 }
    ));
}

#[test]
fn an_unreadable_disk_neither_repeats_nor_claims() {
    let table = KeyTable::new(
        8,
        Arc::new(Disk {
            broken: true,
            ..Disk::default()
        }),
    );
    assert!(table.claim(key("a"), ask("1")).is_err());
    assert!(table.is_empty());
}

#[test]
fn the_window_holds_its_limit_and_sheds_only_what_the_disk_has() {
    let (table, disk) = table(3);
    for number in 1..=3 {
        fresh(&table, key(&number.to_string()), ask("1")).fill(number);
    }
    assert!(matches!(table.claim(key("4"), ask("1")).unwrap(), Claimed::Full));
    assert!(matches!(
        table.claim(key("3"), ask("1")).unwrap(),
        Claimed::Known { number: 3 }
    ));

    disk.entries.lock().insert(
        key("1"),
        KeyEntry {
            fingerprint: ask("1"),
            number: 1,
        },
    );
    table.checkpointed(1);
    let claim = fresh(&table, key("4"), ask("1"));
    assert_eq!(table.len(), 3);
    assert!(matches!(table.claim(key("5"), ask("1")).unwrap(), Claimed::Full));
    claim.fill(4);
    table.checkpointed(2);
    disk.entries.lock().insert(
        key("2"),
        KeyEntry {
            fingerprint: ask("1"),
            number: 2,
        },
    );
    for number in 1..=4 {
        let known = table.claim(key(&number.to_string()), ask("1")).unwrap();
        assert!(
            matches!(known, Claimed::Known { number: n } if n == number),
            "{number}: {known:?}"
        );
    }
}

#[test]
fn a_replayed_tail_is_restored_whole_and_then_shed() {
    let (table, _) = table(2);
    for number in 1..=5 {
        table.restore(
            key(&number.to_string()),
            KeyEntry {
                fingerprint: ask("1"),
                number,
            },
        );
    }
    assert_eq!(table.len(), 5);
    assert!(matches!(
        table.claim(key("1"), ask("1")).unwrap(),
        Claimed::Known { number: 1 }
    ));
    table.checkpointed(5);
    assert!(table.len() < 2);
}

/// Eight clients race for few keys, a checkpointer moves them to disk and out of memory, some commands are refused. Whatever the
/// order: each key gets at most one record, and every repeat learns exactly that one.
#[test]
fn threads_never_give_one_key_two_records() {
    const KEYS: u64 = 400;
    const CLIENTS: u64 = 8;
    let (table, disk) = table(64);
    let log: Arc<Mutex<Vec<(KeyHash, Claim)>>> = Arc::default();
    let durable: Arc<Mutex<StdMap<KeyHash, u64>>> = Arc::default();
    let clients_left = Arc::new(AtomicU64::new(CLIENTS));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (table, log, clients_left) = (table.clone(), log.clone(), clients_left.clone());
            let durable = durable.clone();
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(client);
                for round in 0..KEYS * 3 {
                    let hash = key(&(round / 3).to_string());
                    let repeat = loop {
                        match table.claim(hash, ask("1")).unwrap() {
                            Claimed::Fresh(claim) if rng.u8(..) < 60 => drop(claim),
                            Claimed::Fresh(claim) => log.lock().push((hash, claim)),
                            Claimed::Known { number } => break number,
                            Claimed::InFlight(waiter) => {
                                if let Waited::Known { number } = block_on(waiter) {
                                    break number;
                                }
                            }
                            Claimed::Full => std::thread::yield_now(),
                            Claimed::Mismatch => panic!("all ask for the same"),
                        }
                    };
                    assert_eq!(durable.lock().get(&hash), Some(&repeat), "{hash:?}");
                }
                clients_left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        // The journal: gives numbers in log order, fills, and lets the disk follow.
        let mut number = 0;
        while clients_left.load(Ordering::SeqCst) > 0 {
            let group = std::mem::take(&mut *log.lock());
            for (hash, claim) in group {
                number += 1;
                assert_eq!(
                    durable.lock().insert(hash, number),
                    None,
                    "a second record for {hash:?}"
                );
                claim.fill(number);
                disk.entries.lock().insert(
                    hash,
                    KeyEntry {
                        fingerprint: ask("1"),
                        number,
                    },
                );
            }
            table.checkpointed(number);
            std::thread::yield_now();
        }
        assert_eq!(number, KEYS);
    });
}

#[test]
fn work_of_before_a_restart_overtakes_a_request_that_came_meanwhile() {
    let (table, _) = table(8);
    let claim = fresh(&table, key("k"), ask("a"));
    let waiter = waiter(&table, key("k"), ask("a"));
    assert!(!claim.is_overtaken());
    let fingerprint = ask("a");
    table.restore(
        key("k"),
        KeyEntry {
            fingerprint,
            number: 5,
        },
    );
    assert!(claim.is_overtaken());
    drop(claim);
    assert_eq!(block_on(waiter), Waited::ClaimAgain);
    let claimed = table.claim(key("k"), fingerprint).unwrap();
    assert!(matches!(claimed, Claimed::Known { number: 5 }), "{claimed:?}");
    assert_eq!(table.len(), 1);
}

#[test]
fn work_that_goes_on_has_its_key_again() {
    let (table, disk) = table(10);
    table.park(key("a"), ask("1"));
    // A repeat waits for the end of the work, and another request is found out at once.
    let waiter = waiter(&table, key("a"), ask("1"));
    assert!(matches!(table.claim(key("a"), ask("2")), Ok(Claimed::Mismatch)));
    let claim = table.unpark(key("a")).expect("it was parked");
    assert!(table.unpark(key("a")).is_none(), "it is taken back once");
    claim.fill(7);
    assert_eq!(block_on(waiter), Waited::Known { number: 7 });
    table.park(key("a"), ask("1"));
    assert!(table.unpark(key("a")).is_none(), "it has come to its end");
    // What came to nothing leaves the key free.
    table.park(key("b"), ask("1"));
    drop(table.unpark(key("b")));
    let claim = fresh(&table, key("b"), ask("1"));
    assert!(table.unpark(key("b")).is_none(), "a request has claimed it");
    drop(claim);
    assert!(disk.entries.lock().is_empty());
}

#[test]
fn a_parked_claim_outlives_whoever_held_it() {
    let (table, _) = table(10);
    fresh(&table, key("a"), ask("1")).park();
    let waiter = waiter(&table, key("a"), ask("1"));
    // Whoever goes on with the work parks it again.
    table.park(key("a"), ask("1"));
    table.unpark(key("a")).expect("it was parked").fill(7);
    assert_eq!(block_on(waiter), Waited::Known { number: 7 });
}
