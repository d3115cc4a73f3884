//! A place for one actor, and the rule by which no message falls between two of them (decisions 9).
//!
//! ```text
//!             route                   ended
//!  sleeping ────────► running ──────────────────► rebuilding, messages wait
//!     ▲                │   ▲                            │
//!     └────────────────┘   └────────── rebuilt ─────────┘
//!      leaves, if all that was routed was handled
//! ```
//! Variants, carts and orders sit in places of this kind. Whoever has the place calls every method under the place's one lock,
//! so each is one step, and the test below goes through every order that such steps can come in.
//!
//! Absent on purpose: how an actor starts and how its state is read. What waits is bounded by the permits of those who wait.

/// Who sits here: `S` is the state of one who sleeps, `A` leads to one who runs, `M` is what is sent, and `C` says why nobody
/// may sit here any more.
#[derive(Debug)]
pub(super) enum Seat<S, A, M, C> {
    /// Nobody; all of its records are durable.
    Sleeping(S),
    /// An actor.
    Running {
        /// The way to it.
        actor: A,
        /// How much was sent to it.
        routed: u64,
        /// Tells it apart from the others that sat here.
        generation: u64,
    },
    /// The actor died and its state is being read again.
    Rebuilding {
        /// What came meanwhile.
        waiting: Vec<M>,
    },
    /// Nobody may sit here.
    Closed(C),
}

/// What becomes of a message.
pub(super) enum Route<'a, S, A, M, C> {
    /// It goes to this actor; it is counted.
    Send(&'a A, M),
    /// It waits.
    Waits,
    /// An actor has to be started from this state; it is to [`Seat::sit`] here with the message.
    Start(&'a S, M),
    /// It goes nowhere.
    Closed(&'a C),
}

impl<S, A, M, C> Seat<S, A, M, C> {
    /// An actor sits down and gets what has come before it.
    pub(super) fn sit(
        actor: A,
        generation: u64,
        messages: impl IntoIterator<Item = M>,
        mut send: impl FnMut(&A, M),
    ) -> Self {
        let mut routed = 0;
        for message in messages {
            routed += 1;
            send(&actor, message);
        }
        Self::Running {
            actor,
            routed,
            generation,
        }
    }

    /// Where a message goes.
    pub(super) fn route(&mut self, message: M) -> Route<'_, S, A, M, C> {
        match self {
            Self::Running { actor, routed, .. } => {
                *routed += 1;
                Route::Send(actor, message)
            }
            Self::Rebuilding { waiting } => {
                waiting.push(message);
                Route::Waits
            }
            Self::Sleeping(state) => Route::Start(state, message),
            Self::Closed(why) => Route::Closed(why),
        }
    }

    /// Whether this life of the actor is the present one.
    pub(super) fn is(&self, generation: u64) -> bool {
        matches!(self, Self::Running { generation: seated, .. } if *seated == generation)
    }

    /// Whether an actor that has handled so many messages may leave: it is the present one, and nothing is on its way to it.
    pub(super) fn may_leave(&self, generation: u64, handled: u64) -> bool {
        let Self::Running {
            routed,
            generation: seated,
            ..
        } = self
        else {
            return false;
        };
        *seated == generation && *routed == handled
    }

    /// An actor has ended. If it sat here, whoever comes waits from now on until it was [rebuilt](Seat::rebuilt); `false` if it
    /// had left before.
    pub(super) fn ended(&mut self, is_it: impl FnOnce(&A) -> bool) -> bool {
        let sat_here = matches!(self, Self::Running { actor, .. } if is_it(actor));
        if sat_here {
            *self = Self::Rebuilding { waiting: Vec::new() };
        }
        sat_here
    }

    /// The state was read again: who waited, for the next actor. `None` when nobody is waited for any more.
    pub(super) fn rebuilt(&mut self) -> Option<Vec<M>> {
        match self {
            Self::Rebuilding { waiting } => Some(std::mem::take(waiting)),
            Self::Sleeping(_) | Self::Running { .. } | Self::Closed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::{HashSet, VecDeque},
        convert::Infallible,
    };

    type Model = Seat<usize, usize, u8, Infallible>;

    /// Messages of two callers, in their orders.
    const CALLERS: [&[u8]; 2] = [&[0, 1, 2], &[3, 4]];
    /// Actors that may die, and seats that may be taken away from an actor that lives on.
    const ACCIDENTS: usize = 2;
    /// Proposals that may come to nothing, or an idle actor would never stop to leave and come back.
    const PROPOSALS: usize = 4;

    /// The two answers of a seat that decide over messages, so that a test can put wrong ones in their place.
    struct Rules {
        may_leave: fn(&Model, u64, u64) -> bool,
        rebuilt: fn(&mut Model) -> Option<Vec<u8>>,
    }

    const RULES: Rules = Rules {
        may_leave: |seat, generation, handled| seat.may_leave(generation, handled),
        rebuilt: |seat| seat.rebuilt(),
    };

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Life {
        Runs,
        /// It has encoded its state and waits for the directory's lock.
        Proposes,
        Left,
        /// It died; the supervisor does not know yet.
        Dead,
        /// Its seat was taken away and it does not know yet.
        Unseated,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Actor {
        life: Life,
        mailbox: VecDeque<u8>,
        handled: u64,
        /// The messages that its state has seen.
        state: usize,
    }

    struct World {
        seat: Model,
        actors: Vec<Actor>,
        callers: [usize; 2],
        /// How many messages are in the log.
        logged: usize,
        lost: usize,
        accidents: usize,
        proposals: usize,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Route(usize),
        Handle(usize),
        Propose(usize),
        Decide(usize),
        Die(usize),
        Unseat(usize),
        Ended(usize),
        Rebuilt,
    }

    impl World {
        fn new() -> Self {
            Self {
                seat: Seat::Sleeping(0),
                actors: Vec::new(),
                callers: [0; 2],
                logged: 0,
                lost: 0,
                accidents: 0,
                proposals: 0,
            }
        }

        fn again(&self) -> Self {
            let seat = match &self.seat {
                Seat::Sleeping(state) => Seat::Sleeping(*state),
                Seat::Running {
                    actor,
                    routed,
                    generation,
                } => Seat::Running {
                    actor: *actor,
                    routed: *routed,
                    generation: *generation,
                },
                Seat::Rebuilding { waiting } => Seat::Rebuilding {
                    waiting: waiting.clone(),
                },
                Seat::Closed(never) => match *never {},
            };
            Self {
                seat,
                actors: self.actors.clone(),
                ..*self
            }
        }

        /// What tells two worlds apart.
        fn print(&self) -> String {
            let Self {
                seat,
                actors,
                callers,
                logged,
                lost,
                accidents,
                proposals,
            } = self;
            format!("{seat:?}{actors:?}{callers:?}{logged},{lost},{accidents},{proposals}")
        }

        fn steps(&self) -> Vec<Step> {
            let callers = (0..CALLERS.len()).filter(|caller| self.callers[*caller] < CALLERS[*caller].len());
            let mut steps: Vec<Step> = callers.map(Step::Route).collect();
            for (index, actor) in self.actors.iter().enumerate() {
                match actor.life {
                    Life::Runs => {
                        if !actor.mailbox.is_empty() {
                            steps.push(Step::Handle(index));
                        }
                        if self.proposals < PROPOSALS {
                            steps.push(Step::Propose(index));
                        }
                        if self.accidents < ACCIDENTS {
                            steps.extend([Step::Die(index), Step::Unseat(index)]);
                        }
                    }
                    Life::Proposes => steps.push(Step::Decide(index)),
                    Life::Unseated if self.proposals < PROPOSALS => steps.push(Step::Decide(index)),
                    Life::Dead => steps.push(Step::Ended(index)),
                    Life::Left | Life::Unseated => {}
                }
            }
            if matches!(self.seat, Seat::Rebuilding { .. }) {
                steps.push(Step::Rebuilt);
            }
            steps
        }

        /// An actor starts from a state that has seen everything logged.
        fn start(&mut self, state: usize, messages: Vec<u8>) -> Result<(), String> {
            if state != self.logged {
                return Err(format!(
                    "an actor starts from {state} of {} messages",
                    self.logged
                ));
            }
            if let Some(other) = self
                .actors
                .iter()
                .find(|actor| matches!(actor.life, Life::Runs | Life::Proposes))
            {
                return Err(format!("a second actor starts beside {other:?}"));
            }
            let index = self.actors.len();
            let mut mailbox = VecDeque::new();
            self.seat = Seat::sit(index, index as u64, messages, |_, message| {
                mailbox.push_back(message)
            });
            self.actors.push(Actor {
                life: Life::Runs,
                mailbox,
                handled: 0,
                state,
            });
            Ok(())
        }

        fn take(&mut self, step: Step, rules: &Rules) -> Result<(), String> {
            match step {
                Step::Route(caller) => {
                    let message = CALLERS[caller][self.callers[caller]];
                    self.callers[caller] += 1;
                    match self.seat.route(message) {
                        Route::Send(actor, message) => {
                            let actor = &mut self.actors[*actor];
                            match actor.life {
                                Life::Runs | Life::Proposes => actor.mailbox.push_back(message),
                                Life::Dead => self.lost += 1,
                                Life::Left | Life::Unseated => {
                                    return Err(format!("{message} went to {actor:?}"));
                                }
                            }
                        }
                        Route::Waits => {}
                        Route::Start(state, message) => {
                            let state = *state;
                            self.start(state, vec![message])?;
                        }
                        Route::Closed(never) => match *never {},
                    }
                }
                Step::Handle(index) => {
                    let actor = &mut self.actors[index];
                    actor.mailbox.pop_front();
                    actor.handled += 1;
                    actor.state += 1;
                    self.logged += 1;
                }
                Step::Propose(index) => {
                    self.proposals += 1;
                    self.actors[index].life = Life::Proposes;
                }
                Step::Decide(index) => self.decide(index, rules)?,
                Step::Die(index) | Step::Unseat(index) => {
                    self.accidents += 1;
                    let actor = &mut self.actors[index];
                    self.lost += std::mem::take(&mut actor.mailbox).len();
                    if let Step::Die(_) = step {
                        actor.life = Life::Dead;
                    } else {
                        actor.life = Life::Unseated;
                        self.seat.ended(|seated| *seated == index);
                    }
                }
                Step::Ended(index) => {
                    self.seat.ended(|seated| *seated == index);
                    self.actors[index].life = Life::Left;
                }
                Step::Rebuilt => {
                    let Some(waiting) = (rules.rebuilt)(&mut self.seat) else {
                        return Err("nobody is waited for".into());
                    };
                    self.start(self.logged, waiting)?;
                }
            }
            Ok(())
        }

        /// The directory judges a proposal that was made before it had the lock.
        fn decide(&mut self, index: usize, rules: &Rules) -> Result<(), String> {
            let actor = &mut self.actors[index];
            let agreed = (rules.may_leave)(&self.seat, index as u64, actor.handled);
            match (agreed, actor.life) {
                (true, Life::Unseated) => return Err(format!("{actor:?} gave away a seat that it has not")),
                (true, _) if !actor.mailbox.is_empty() => return Err(format!("{actor:?} left with mail")),
                (true, _) => {
                    actor.life = Life::Left;
                    self.seat = Seat::Sleeping(actor.state);
                }
                (false, Life::Unseated) => self.proposals += 1,
                (false, _) => actor.life = Life::Runs,
            }
            Ok(())
        }

        /// When nothing can happen any more, every message was handled, or lost with an actor.
        fn check_end(&self) -> Result<(), String> {
            let all: usize = CALLERS.iter().map(|messages| messages.len()).sum();
            if self.logged + self.lost != all {
                return Err(format!("{} handled and {} lost of {all}", self.logged, self.lost));
            }
            Ok(())
        }
    }

    /// Goes through every order of steps; the number of worlds seen, or the first that is wrong and how it came about.
    fn explore(rules: &Rules) -> Result<usize, (String, Vec<Step>)> {
        let mut seen = HashSet::new();
        let mut open = vec![(World::new(), Vec::new())];
        while let Some((world, way)) = open.pop() {
            if !seen.insert(world.print()) {
                continue;
            }
            let steps = world.steps();
            // Proposals are never needed for an end.
            if !steps
                .iter()
                .any(|step| !matches!(step, Step::Propose(_) | Step::Die(_) | Step::Unseat(_)))
            {
                world.check_end().map_err(|wrong| (wrong, way.clone()))?;
            }
            for step in steps {
                let mut next = world.again();
                let mut way = way.clone();
                way.push(step);
                match next.take(step, rules) {
                    Ok(()) => open.push((next, way)),
                    Err(wrong) => return Err((wrong, way)),
                }
            }
        }
        Ok(seen.len())
    }

    #[test]
    fn no_message_falls_between_two_actors_in_any_order_of_route_retire_and_death() {
        let worlds = explore(&RULES).unwrap();
        assert!(worlds > 10_000, "{worlds} worlds are too few to say anything");
    }

    #[test]
    fn an_actor_that_leaves_though_something_was_routed_is_caught() {
        let rules = Rules {
            may_leave: |seat, generation, _| matches!(seat, Seat::Running { generation: seated, .. } if *seated == generation),
            ..RULES
        };
        let (wrong, way) = explore(&rules).unwrap_err();
        assert!(wrong.contains("left with mail"), "{wrong}: {way:?}");
    }

    #[test]
    fn an_actor_that_leaves_in_the_name_of_another_is_caught() {
        let rules = Rules {
            may_leave: |seat, _, handled| matches!(seat, Seat::Running { routed, .. } if *routed == handled),
            ..RULES
        };
        let (wrong, way) = explore(&rules).unwrap_err();
        assert!(wrong.contains("a seat that it has not"), "{wrong}: {way:?}");
    }

    #[test]
    fn messages_that_are_forgotten_at_a_rebuild_are_caught() {
        let rules = Rules {
            rebuilt: |seat| seat.rebuilt().map(|_| Vec::new()),
            ..RULES
        };
        let (wrong, way) = explore(&rules).unwrap_err();
        assert!(wrong.contains("handled and"), "{wrong}: {way:?}");
    }
}
