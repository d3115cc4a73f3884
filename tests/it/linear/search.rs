//! Is there an order of all operations in which the naive variant gives every answer that was given, and in which nothing comes
//! before what had ended when it began? A depth-first search with a memory of what it has seen (Wing and Gong; Lowe).
//!
//! - Nobody knows what an operation without an answer did: it may have happened at any time after its call, or never.
//! - An operation that changes nothing and whose answer fits is placed at once: placing it later can only be harder.
//! - A state that was reached before with the same operations done is not searched again.
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::model::{Answer, Op, Stamp, Variant};

/// One operation as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    /// `None` when the client never heard of it again.
    pub(crate) answer: Option<Answer>,
    pub(crate) called: Stamp,
    /// [`NEVER`] without an answer.
    pub(crate) returned: Stamp,
}

/// Later than everything.
pub(crate) const NEVER: Stamp = Stamp::MAX;

/// What was observed of one variant.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) start: Variant,
    pub(crate) calls: Vec<Call>,
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is such an order; so many states were looked at.
    Linearizable { states: usize },
    /// There is none: how far one comes, and what fits no more there.
    Violated(String),
    /// The search was given up; nothing is known.
    Undecided { states: usize },
}

/// More states than any honest history of ours needs.
const STATES_MAX: usize = 2_000_000;

impl History {
    /// Searches.
    pub(crate) fn judge(&self) -> Verdict {
        let mut calls = self.calls.clone();
        calls.sort_by_key(|call| call.called);
        Search::new(calls, self.start.clone()).run()
    }

    /// Expects that there is such an order; how many states were looked at.
    pub(crate) fn expect_linearizable(&self) -> usize {
        match self.judge() {
            Verdict::Linearizable { states } => states,
            verdict => panic!("LINEARIZABLE: {verdict:?}"),
        }
    }
}

struct Search {
    /// In the order of their calls.
    calls: Vec<Call>,
    done: Vec<bool>,
    /// Answered operations that have no place yet.
    left: usize,
    state: Variant,
    /// Every operation before this one has its place.
    first: usize,
    /// A number for each operation; those of the operations done, put together, stand for the set.
    numbers: Vec<u128>,
    done_set: u128,
    seen: HashSet<(u128, u64)>,
    hasher: RandomState,
    path: Vec<Step>,
    /// The longest order found: how many operations, and what fits no more.
    best: (usize, String),
}

/// A point at which the search chose.
struct Step {
    /// What else can be tried here.
    choices: Vec<usize>,
    /// Before the choice.
    state: Variant,
    /// Placed by this step: the choice, and what changes nothing.
    placed: Vec<usize>,
}

impl Search {
    fn new(calls: Vec<Call>, state: Variant) -> Self {
        Self {
            done: vec![false; calls.len()],
            left: calls.iter().filter(|call| call.answer.is_some()).count(),
            numbers: calls.iter().map(|_| fastrand::u128(..)).collect(),
            calls,
            state,
            first: 0,
            done_set: 0,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            path: Vec::new(),
            best: (0, String::new()),
        }
    }

    fn run(mut self) -> Verdict {
        let mut placed = self.place_looks();
        loop {
            if self.left == 0 {
                let states = self.seen.len();
                return Verdict::Linearizable { states };
            }
            if self.seen.len() > STATES_MAX {
                let states = self.seen.len();
                return Verdict::Undecided { states };
            }
            let choices = if self.is_new() {
                self.changing()
            } else {
                Vec::new()
            };
            if choices.is_empty() {
                self.note_end();
            }
            let state = self.state.clone();
            self.path.push(Step {
                choices,
                state,
                placed,
            });
            match self.next_choice() {
                Some(more) => placed = more,
                None => return Verdict::Violated(self.best.1),
            }
        }
    }

    /// Goes back as far as needed and makes the next choice; what was placed by it.
    fn next_choice(&mut self) -> Option<Vec<usize>> {
        while let Some(step) = self.path.last_mut() {
            self.state = step.state.clone();
            if let Some(choice) = step.choices.pop() {
                let after = self.try_at(choice);
                self.state = after.ok().flatten().expect("it was tried before");
                self.place(choice);
                let mut placed = vec![choice];
                placed.extend(self.place_looks());
                return Some(placed);
            }
            let step = self.path.pop().expect("it was just there");
            for index in step.placed {
                self.take_back(index);
            }
        }
        None
    }

    fn place(&mut self, index: usize) {
        self.done[index] = true;
        self.done_set ^= self.numbers[index];
        self.left -= usize::from(self.calls[index].answer.is_some());
        while self.done.get(self.first) == Some(&true) {
            self.first += 1;
        }
    }

    fn take_back(&mut self, index: usize) {
        self.done[index] = false;
        self.done_set ^= self.numbers[index];
        self.left += usize::from(self.calls[index].answer.is_some());
        self.first = self.first.min(index);
    }

    fn try_at(&self, index: usize) -> Result<Option<Variant>, Answer> {
        let call = &self.calls[index];
        self.state.after(&call.op, call.called, call.answer.as_ref())
    }

    /// What may come next: called before the first return of those that have no place.
    fn candidates(&self) -> Vec<usize> {
        let mut first_return = NEVER;
        let mut found = Vec::new();
        for (index, call) in self.calls.iter().enumerate().skip(self.first) {
            if call.called > first_return {
                break;
            }
            if !self.done[index] {
                first_return = first_return.min(call.returned);
                found.push(index);
            }
        }
        // The scan met some before it met the return that rules them out.
        found.retain(|index| self.calls[*index].called < first_return);
        found
    }

    /// Places everything that changes nothing and fits here.
    fn place_looks(&mut self) -> Vec<usize> {
        let mut placed = Vec::new();
        loop {
            let fitting = self.candidates().into_iter().filter(|index| {
                self.calls[*index].answer.is_some() && matches!(self.try_at(*index), Ok(None))
            });
            let fitting: Vec<usize> = fitting.collect();
            if fitting.is_empty() {
                return placed;
            }
            for index in fitting {
                self.place(index);
                placed.push(index);
            }
        }
    }

    /// What may come next and changes something, in the order in which it is best tried: the last one first.
    fn changing(&self) -> Vec<usize> {
        let mut found = self.candidates();
        found.retain(|index| matches!(self.try_at(*index), Ok(Some(_))));
        found.sort_by_key(|index| std::cmp::Reverse(self.calls[*index].returned));
        found
    }

    /// Whether these operations never led to this state before.
    fn is_new(&mut self) -> bool {
        self.seen
            .insert((self.done_set, self.hasher.hash_one(&self.state)))
    }

    /// Remembers how far this order came.
    fn note_end(&mut self) {
        let placed = self.done.iter().filter(|done| **done).count();
        if placed < self.best.0 || (placed == self.best.0 && !self.best.1.is_empty()) {
            return;
        }
        let stuck = self.candidates().into_iter().map(|index| {
            let call = &self.calls[index];
            let wanted = self.try_at(index);
            let judged = match wanted {
                Err(answer) => format!("would be answered {answer:?} here"),
                Ok(_) => "fits here".to_owned(),
            };
            let Call {
                op,
                answer,
                called,
                returned,
            } = call;
            format!("\n  {called}..{returned} {op:?} was answered {answer:?}, {judged}")
        });
        let stuck: String = stuck.collect();
        self.best = (
            placed,
            format!("{placed} operations have a place, then {:?}:{stuck}", self.state),
        );
    }
}
