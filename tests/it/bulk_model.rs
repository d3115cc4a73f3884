//! Several coordinators of both modes over several variants, with a network that reorders, doubles and drops, and crashes of
//! everything at once. The shell around `Bulk` and `Gather` here is the smallest one that keeps their promises.
use crate::world::{Answer, START, World};
use holdfast::domain::{
    bulk::{Action, Bulk, Event, Gather, Line, LineOutcome, Mode, Next, Plan, Stage},
    ids::{BulkId, ReservationId, StoreId, VariantOrdinal},
    policy::{HoldLengths, Terms},
    time::Timestamp,
    variant::{Command, Decision, Hold, HoldStatus, Reserve, Settings, Shopper},
};
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

const TERMS: Terms = Terms {
    lengths: HoldLengths {
        ttl_ms: 3_600_000,
        extension_ms: 60_000,
        max_extensions: 2,
    },
    payment_ttl_ms: 60_000,
    max_ttl_ms: 3_600_000,
    units_per_customer: None,
    window_days: None,
};

#[derive(Clone, Debug)]
enum Message {
    Ask {
        bulk: usize,
        number: u32,
        line: usize,
    },
    Answer {
        bulk: usize,
        number: u32,
        line: usize,
        outcome: Box<LineOutcome>,
    },
    Settle {
        bulk: usize,
        number: u32,
        line: usize,
        commit: bool,
    },
    Settled {
        bulk: usize,
        number: u32,
        line: usize,
    },
}

/// A coordinator: what the log knows of it, and what a crash forgets.
struct Coordinator {
    log: Vec<(Event, Timestamp)>,
    bulk: Bulk,
    gather: Option<Gather>,
    /// The try that was decided; a crash forgets it.
    decided: Option<u32>,
    settled: BTreeSet<(u32, usize)>,
}

struct House {
    variants: Vec<World>,
    bulks: Vec<Coordinator>,
    network: VecDeque<Message>,
    now: Timestamp,
}

/// What the network and fate do next.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Deliver(usize),
    Double(usize),
    Drop(usize),
    TimeOut(usize),
    Crash,
}

impl House {
    /// Variants with this much stock, and two reservations of one unit each.
    fn new(stock: &[u64]) -> Self {
        let mut house = Self {
            variants: Vec::new(),
            bulks: Vec::new(),
            network: VecDeque::new(),
            now: START,
        };
        for (number, on_hand) in stock.iter().enumerate() {
            let ordinal = VariantOrdinal(u32::try_from(number).unwrap());
            let mut world = World::new(&format!("v{number}"), ordinal);
            let settings = Box::new(Settings::default());
            world.ask(
                &Command::Create {
                    settings,
                    on_hand: *on_hand,
                    by: "model".to_owned(),
                },
                START,
            );
            house.variants.push(world);
        }
        house
    }

    fn hold(&mut self, variant: usize) -> ReservationId {
        let id = self.variants[variant].fresh_id(START);
        let ask = Reserve {
            id,
            quantity: 1,
            shopper: Shopper::default(),
            ttl_ms: None,
            allow_partial: false,
            for_order: None,
            terms: TERMS,
        };
        let answer = self.variants[variant].ask(&Command::Reserve(ask), START);
        assert!(matches!(answer, Answer::Granted(_)));
        id
    }

    /// Logs a coordinator's intent and asks every line at once.
    fn start(&mut self, mode: Mode, action: Action, lines: &[(usize, u32, Option<ReservationId>)]) {
        let at = self.bulks.len();
        let line = |(variant, quantity, id): &(usize, u32, Option<ReservationId>)| {
            let world = &mut self.variants[*variant];
            Line {
                variant_id: world.variant.head().id.clone(),
                variant: Some(world.variant.head().ordinal),
                reservation: id.unwrap_or_else(|| world.fresh_id(START)),
                quantity: *quantity,
            }
        };
        let plan = Plan {
            store: StoreId::parse("default").unwrap(),
            mode,
            action,
            lines: lines.iter().map(line).collect(),
            terms: TERMS,
        };
        let gather = Some(Gather::new(mode, &plan.lines));
        let bulk = Bulk::intended(BulkId(at as u128), plan.clone());
        self.bulks.push(Coordinator {
            log: vec![(Event::Intended(Box::new(plan)), self.now)],
            bulk,
            gather,
            decided: None,
            settled: BTreeSet::new(),
        });
        for line in 0..lines.len() {
            self.network.push_back(Message::Ask {
                bulk: at,
                number: 1,
                line,
            });
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Ask { bulk, number, line } => {
                let outcome = Box::new(self.ask(bulk, number, line));
                self.network.push_back(Message::Answer {
                    bulk,
                    number,
                    line,
                    outcome,
                });
            }
            Message::Settle {
                bulk,
                number,
                line,
                commit,
            } => {
                self.settle(bulk, number, line, commit);
                self.network.push_back(Message::Settled { bulk, number, line });
            }
            Message::Answer {
                bulk,
                number,
                line,
                outcome,
            } => self.answered(bulk, number, line, *outcome),
            Message::Settled { bulk, number, line } => {
                self.bulks[bulk].settled.insert((number, line));
                self.finish_if_settled(bulk);
            }
        }
    }

    // --- at a variant ---

    fn world(&mut self, bulk: usize, line: usize) -> &mut World {
        let ordinal = self.bulks[bulk].bulk.plan.lines[line].variant.unwrap();
        &mut self.variants[ordinal.0 as usize]
    }

    fn ask(&mut self, bulk: usize, number: u32, line: usize) -> LineOutcome {
        let plan = &self.bulks[bulk].bulk;
        let (command, now) = (plan.ask(&plan.plan.lines[line], number), self.now);
        let id = plan.plan.lines[line].reservation;
        let world = self.world(bulk, line);
        match world.ask(&command, now) {
            Answer::Granted(_) => LineOutcome::Done(world.variant.hold(id).unwrap().clone()),
            Answer::Repeat(hold) => LineOutcome::Done(*hold),
            Answer::Nothing => panic!("no line of a bulk asks for something that holds nothing"),
            Answer::Refused(_, refusal) => LineOutcome::Refused(refusal),
        }
    }

    fn settle(&mut self, bulk: usize, number: u32, line: usize, commit: bool) {
        let now = self.now;
        let plan = &self.bulks[bulk].bulk;
        let command = plan.settle(&plan.plan.lines[line], number, commit, now);
        let world = self.world(bulk, line);
        let before = world.variant.decide(&command, now);
        assert!(
            matches!(before, Ok(Decision::Granted(_))),
            "a settlement is never refused"
        );
        world.ask(&command, now);
    }

    // --- at a coordinator ---

    fn answered(&mut self, bulk: usize, number: u32, line: usize, outcome: LineOutcome) {
        let promised = outcome.is_done();
        let coordinator = &mut self.bulks[bulk];
        if let Some(gather) = &mut coordinator.gather {
            let late = gather.number() != number;
            let next = gather.answered(number, line, outcome);
            if late && promised {
                self.network.push_back(Message::Settle {
                    bulk,
                    number,
                    line,
                    commit: false,
                });
            }
            return self.act(bulk, next);
        }
        // Decided: a promise that arrives now is answered with the decision, a second one with no.
        let Stage::Decided { kept, .. } = &coordinator.bulk.stage else {
            if promised {
                self.network.push_back(Message::Settle {
                    bulk,
                    number,
                    line,
                    commit: false,
                });
            }
            return;
        };
        let again = coordinator.settled.contains(&(number, line));
        let ours = coordinator.decided.is_none_or(|decided| decided == number);
        if promised {
            let commit = is_kept(kept, line) && ours && !again;
            self.network.push_back(Message::Settle {
                bulk,
                number,
                line,
                commit,
            });
        }
    }

    fn act(&mut self, bulk: usize, next: Next) {
        let number = self.bulks[bulk].gather.as_ref().unwrap().number();
        match next {
            Next::Wait => {}
            Next::Ask(line) | Next::AskAgain(line) => {
                self.network.push_back(Message::Ask { bulk, number, line })
            }
            Next::TryInOrder => {
                for line in 0..self.bulks[bulk].bulk.plan.lines.len() {
                    self.network.push_back(Message::Settle {
                        bulk,
                        number,
                        line,
                        commit: false,
                    });
                }
                let gather = self.bulks[bulk].gather.as_mut().unwrap();
                let first = gather.try_in_order();
                self.act(bulk, first);
            }
            Next::Decide { commit } => {
                let outcomes = self.bulks[bulk].gather.take().unwrap().outcomes();
                self.bulks[bulk].decided = Some(number);
                self.log(bulk, Event::Decided { commit, outcomes });
                self.settle_all(bulk);
            }
        }
    }

    fn log(&mut self, bulk: usize, event: Event) {
        let coordinator = &mut self.bulks[bulk];
        coordinator.bulk.apply(&event, self.now);
        coordinator.log.push((event, self.now));
    }

    /// Tells every line. After a crash the decided try is unknown; then both are told, as a reservation is promised to
    /// one try at a time: if the decision was yes, every promise there is belongs to it.
    fn settle_all(&mut self, bulk: usize) {
        let coordinator = &self.bulks[bulk];
        let Stage::Decided { kept, .. } = &coordinator.bulk.stage else {
            return;
        };
        for number in 1..=2 {
            let ours = coordinator.decided.is_none_or(|decided| decided == number);
            for line in 0..coordinator.bulk.plan.lines.len() {
                if !coordinator.settled.contains(&(number, line)) {
                    self.network.push_back(Message::Settle {
                        bulk,
                        number,
                        line,
                        commit: is_kept(kept, line) && ours,
                    });
                }
            }
        }
    }

    fn finish_if_settled(&mut self, bulk: usize) {
        let coordinator = &self.bulks[bulk];
        let all = coordinator.bulk.plan.lines.len() * 2;
        if matches!(coordinator.bulk.stage, Stage::Decided { .. }) && coordinator.settled.len() == all {
            self.log(bulk, Event::Finished);
        }
    }

    fn time_out(&mut self, bulk: usize) {
        if let Some(gather) = &mut self.bulks[bulk].gather {
            let next = gather.timed_out();
            self.act(bulk, next);
        }
    }

    /// Everything but the logs is lost.
    fn crash(&mut self) {
        self.network.clear();
        self.now = self.now.saturating_add(1000);
        for world in &self.variants {
            world.expect_replay_equal();
        }
        for at in 0..self.bulks.len() {
            self.recover(at);
        }
    }

    fn recover(&mut self, at: usize) {
        let coordinator = &mut self.bulks[at];
        let mut replayed = Bulk::intended(coordinator.bulk.id, coordinator.bulk.plan.clone());
        for (event, when) in &coordinator.log {
            replayed.apply(event, *when);
        }
        assert_eq!(replayed, coordinator.bulk, "REPLAY_EQUAL");
        coordinator.gather = None;
        coordinator.decided = None;
        coordinator.settled.clear();
        if replayed.stage == Stage::Trying {
            self.log(
                at,
                Event::Decided {
                    commit: false,
                    outcomes: Vec::new(),
                },
            );
        }
        self.settle_all(at);
    }

    fn suffer(&mut self, fate: Fate) {
        let of = |index: usize, len: usize| (len > 0).then(|| index % len);
        match fate {
            Fate::Deliver(index) => {
                if let Some(at) = of(index, self.network.len()) {
                    let message = self.network.remove(at).unwrap();
                    self.deliver(message);
                }
            }
            Fate::Double(index) => {
                if let Some(at) = of(index, self.network.len()) {
                    let message = self.network[at].clone();
                    self.deliver(message);
                }
            }
            Fate::Drop(index) => {
                if let Some(at) = of(index, self.network.len()) {
                    self.network.remove(at);
                }
            }
            Fate::TimeOut(index) => {
                if let Some(at) = of(index, self.bulks.len()) {
                    self.time_out(at);
                }
            }
            Fate::Crash => self.crash(),
        }
    }

    /// Nothing is lost any more: everything is delivered in order; who still waits gives up, who decided tells again.
    fn calm(&mut self) {
        for _ in 0..10 {
            // Who waits for a coordinator whose messages were lost asks on until that one gives up.
            for _ in 0..500 {
                let Some(message) = self.network.pop_front() else {
                    break;
                };
                self.deliver(message);
            }
            for at in 0..self.bulks.len() {
                self.time_out(at);
                self.settle_all(at);
            }
            self.remind();
        }
        assert!(self.network.is_empty());
    }

    /// A promise made to a doubled message whose answer was lost is known to its variant only, which tells it again.
    fn remind(&mut self) {
        let pinned = |world: &World| {
            world
                .variant
                .holds()
                .filter(|hold| hold.pin.is_some())
                .cloned()
                .collect()
        };
        let promises: Vec<Vec<Hold>> = self.variants.iter().map(pinned).collect();
        for hold in promises.into_iter().flatten() {
            let attempt = hold.pin.unwrap().attempt;
            let bulk = usize::try_from(attempt.bulk.0).unwrap();
            let mut lines = self.bulks[bulk].bulk.plan.lines.iter();
            let line = lines.position(|line| line.reservation == hold.id).unwrap();
            self.network.push_back(Message::Answer {
                bulk,
                number: attempt.number,
                line,
                outcome: Box::new(LineOutcome::Done(hold)),
            });
        }
    }

    /// The lines whose promise was kept.
    fn kept(&self, bulk: usize) -> Vec<bool> {
        let decided = self.bulks[bulk].log.iter().find_map(|(event, _)| match event {
            Event::Decided { commit, outcomes } => Some((*commit, outcomes)),
            Event::Intended(_) | Event::Finished => None,
        });
        let (commit, outcomes) = decided.expect("decided");
        outcomes
            .iter()
            .map(|outcome| commit && outcome.is_done())
            .collect()
    }

    fn committed(&self, bulk: usize) -> bool {
        self.kept(bulk).contains(&true)
    }

    /// No promise is left, and every line stands as its coordinator decided.
    fn expect_settled(&self) {
        for world in &self.variants {
            let open = world.variant.holds().filter(|hold| hold.pin.is_some());
            assert_eq!(open.count(), 0, "a promise is left");
            world.expect_replay_equal();
        }
        for (at, coordinator) in self.bulks.iter().enumerate() {
            assert_eq!(coordinator.bulk.stage, Stage::Finished);
            let decided = coordinator
                .log
                .iter()
                .filter(|(event, _)| matches!(event, Event::Decided { .. }));
            assert_eq!(decided.count(), 1, "decided once");
            let (plan, kept) = (&coordinator.bulk.plan, self.kept(at));
            let kept: Vec<bool> = (0..plan.lines.len()).map(|line| is_kept(&kept, line)).collect();
            if plan.mode == Mode::AllOrNothing {
                assert!(kept.iter().all(|line| *line == kept[0]), "all or nothing");
            }
            for (line, kept) in plan.lines.iter().zip(kept) {
                self.expect_line(line, &plan.action, kept);
            }
        }
    }

    fn expect_line(&self, line: &Line, action: &Action, kept: bool) {
        let world = &self.variants[line.variant.unwrap().0 as usize];
        let status = world.variant.hold(line.reservation).map(|hold| hold.status);
        match action {
            Action::Reserve { .. } => {
                let expected = kept.then_some(HoldStatus::Active);
                assert_eq!(status, expected, "as it was answered");
            }
            Action::Confirm if kept => assert_eq!(status, Some(HoldStatus::Confirmed)),
            Action::Release if kept => assert_eq!(status, None),
            // Another coordinator may have sold it or given it back.
            Action::Confirm | Action::Release | Action::Extend { .. } => {}
        }
    }
}

fn is_kept(kept: &[bool], line: usize) -> bool {
    kept.get(line).copied().unwrap_or(false)
}

fn reserving() -> Action {
    Action::Reserve {
        shopper: Shopper::default(),
        ttl_ms: None,
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::AllOrNothing), Just(Mode::BestEffort)]
}

fn reordering() -> impl Strategy<Value = Fate> {
    prop_oneof![8 => any::<usize>().prop_map(Fate::Deliver), 1 => any::<usize>().prop_map(Fate::Double)]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        40 => any::<usize>().prop_map(Fate::Deliver),
        5 => any::<usize>().prop_map(Fate::Double),
        4 => any::<usize>().prop_map(Fate::Drop),
        1 => any::<usize>().prop_map(Fate::TimeOut),
        1 => Just(Fate::Crash),
    ]
}

proptest! {
    #![proptest_config(crate::stories(256))]

    #[test]
    fn two_bulks_over_the_last_x_and_y_exactly_one_wins(
        fates in proptest::collection::vec(reordering(), 0..80),
    ) {
        let mut house = House::new(&[1, 1]);
        house.start(Mode::AllOrNothing, reserving(), &[(0, 1, None), (1, 1, None)]);
        house.start(Mode::AllOrNothing, reserving(), &[(0, 1, None), (1, 1, None)]);
        fates.into_iter().for_each(|fate| house.suffer(fate));
        house.calm();
        house.expect_settled();
        prop_assert!(house.committed(0) != house.committed(1), "exactly one wins");
    }

    #[test]
    fn bulks_end_as_they_were_answered_whatever_the_network_does(
        fates in proptest::collection::vec(fate(), 0..160),
        wanted in proptest::collection::vec((mode(), 1..4_u32, 1..4_u32, 0..3_usize), 3),
        modes in (mode(), mode()),
    ) {
        let mut house = House::new(&[5, 4, 3]);
        let kept = [house.hold(0), house.hold(1)];
        for (mode, first, second, skip) in wanted {
            let lines = [(0, first), (1, second), (2, first)];
            let lines = lines.into_iter().enumerate().filter(|(at, _)| *at != skip);
            let lines: Vec<_> = lines.map(|(_, (variant, units))| (variant, units, None)).collect();
            house.start(mode, reserving(), &lines);
        }
        let both = [(0, 0, Some(kept[0])), (1, 0, Some(kept[1]))];
        house.start(modes.0, Action::Confirm, &both);
        house.start(modes.1, Action::Release, &both);
        fates.into_iter().for_each(|fate| house.suffer(fate));
        house.calm();
        house.expect_settled();
        for line in 0..2 {
            let kept = [3, 4].map(|bulk| is_kept(&house.kept(bulk), line));
            prop_assert!(kept != [true, true], "sold and given back");
        }
    }
}
