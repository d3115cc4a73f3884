//! Every saga under every fault: each ask lost, each answer lost, each ask doubled, a crash before and after each round,
//! a refusal at each line, alone and in pairs. Pure: the peers are values, and a crash leaves exactly what was logged.
//!
//! A topic gives a [`Peers`] and a beginning; [`with_every_fault`] runs it without a fault first and then with all of
//! them, and hands each outcome to the topic's own judge, beside the one without.
mod order;

use holdfast::domain::{
    agent::{Agent, Answer, Ask, Next, Verdict},
    time::Timestamp,
};

/// Who is asked.
pub(crate) trait Peers: Clone {
    /// Does what is asked and answers.
    fn ask(&mut self, ask: &Ask, now: Timestamp) -> Answer;

    /// The answer of somebody who says no and does nothing; `None` when this cannot be refused.
    fn refusal(&self, ask: &Ask) -> Option<Answer>;
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The ask never arrives.
    AskLost,
    /// It is done, and the answer never arrives.
    AnswerLost,
    /// It arrives twice.
    Doubled,
    /// It is refused.
    Refused,
    /// The process ends once the record is logged, before anybody from here on is asked.
    CrashBefore,
    /// The process ends once this one has done what it was asked.
    CrashAfter,
}

const FAULTS: [Fault; 6] = [
    Fault::AskLost,
    Fault::AnswerLost,
    Fault::Doubled,
    Fault::Refused,
    Fault::CrashBefore,
    Fault::CrashAfter,
];

/// Where: in which round of asks, at which of them.
type Place = (usize, usize);

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran<A: Agent, P> {
    pub(crate) after: A,
    pub(crate) peers: P,
    /// What whoever asked was told.
    pub(crate) said: Option<Result<(), A::Refusal>>,
    /// What happened, record by record.
    pub(crate) happened: Vec<A::Happened>,
    /// Asks in each round.
    rounds: Vec<usize>,
}

/// More rounds than this, and it never ends.
const ROUNDS_MAX: usize = 400;

/// From here on time passes between rounds, for whoever waits for it.
const PATIENCE: usize = 20;

/// Runs what `begin` leads to until nothing is left to do.
pub(crate) fn run<A, P>(
    start: &A,
    peers: &P,
    begin: impl Fn(&A, Timestamp) -> Result<Next<A>, A::Refusal>,
    faults: &[(Place, Fault)],
    mut now: Timestamp,
) -> Ran<A, P>
where
    A: Agent,
    A::Happened: Clone,
    P: Peers,
{
    let mut ran = Ran {
        after: start.clone(),
        peers: peers.clone(),
        said: None,
        happened: Vec::new(),
        rounds: Vec::new(),
    };
    match begin(start, now) {
        Err(refusal) => {
            ran.said = Some(Err(refusal));
            return ran;
        }
        Ok(next) => ran.log(next),
    }
    let mut answers: Vec<Answer> = Vec::new();
    let mut crashed = false;
    while ran.after.is_working() {
        let round = ran.rounds.len();
        assert!(round < ROUNDS_MAX, "it never ends: {:?}", ran.after);
        if round > PATIENCE {
            now = now.saturating_add(500);
        }
        let asks = if crashed {
            ran.after.asks_again()
        } else {
            ran.after.asks()
        };
        if answers.len() != asks.len() {
            answers = vec![Answer::Unanswered; asks.len()];
        }
        ran.rounds.push(asks.len());
        let fault = |at: usize| {
            faults
                .iter()
                .find(|(place, _)| *place == (round, at))
                .map(|(_, fault)| *fault)
        };
        crashed = ran.ask_all(&asks, &mut answers, fault, now);
        if crashed {
            // What was logged is what there is: it asks again.
            answers.clear();
            continue;
        }
        let next = ran.after.conclude(&answers, now);
        if next.after == ran.after && matches!(next.verdict, Verdict::Working) {
            continue; // Those who did not answer are asked again.
        }
        answers.clear();
        ran.log(next);
    }
    ran
}

impl<A: Agent, P: Peers> Ran<A, P>
where
    A::Happened: Clone,
{
    fn log(&mut self, next: Next<A>) {
        next.after
            .check()
            .unwrap_or_else(|broken| panic!("{broken}: {:?}", next.after));
        self.after = next.after;
        self.happened.extend(next.happened);
        let said = match next.verdict {
            Verdict::Working => None,
            Verdict::Done => Some(Ok(())),
            Verdict::Refused(refusal) => Some(Err(refusal)),
        };
        self.said = self.said.take().or(said);
    }

    /// One round; whether the process ended in it.
    fn ask_all(
        &mut self,
        asks: &[Ask],
        answers: &mut [Answer],
        fault: impl Fn(usize) -> Option<Fault>,
        now: Timestamp,
    ) -> bool {
        for (at, (ask, answer)) in asks.iter().zip(answers).enumerate() {
            let again = matches!(answer, Answer::Unanswered) || is_in_flight(answer);
            match fault(at) {
                Some(Fault::CrashBefore) => return true,
                _ if !again => {}
                Some(Fault::AskLost) => *answer = Answer::Unanswered,
                Some(Fault::AnswerLost) => {
                    self.peers.ask(ask, now);
                    *answer = Answer::Unanswered;
                }
                Some(Fault::Doubled) => {
                    let first = self.peers.ask(ask, now);
                    *answer = self.peers.ask(ask, now);
                    // Done already, there may be nothing left to do.
                    let same = [kind(&first), "nothing".to_owned()].contains(&kind(answer));
                    assert!(same, "asked twice: {ask:?}, {first:?}, {answer:?}");
                }
                Some(Fault::Refused) => {
                    *answer = self
                        .peers
                        .refusal(ask)
                        .unwrap_or_else(|| self.peers.ask(ask, now));
                }
                Some(Fault::CrashAfter) => {
                    self.peers.ask(ask, now);
                    return true;
                }
                None => *answer = self.peers.ask(ask, now),
            }
        }
        false
    }
}

/// A collision is asked again too.
fn is_in_flight(answer: &Answer) -> bool {
    use holdfast::domain::{agent::Told, variant::Refusal};
    matches!(
        answer,
        Answer::Variant {
            told: Told::Refused(Refusal::InFlight | Refusal::InsufficientStock { contended: true, .. }),
            ..
        }
    )
}

/// An answer but for its figures: the same ask has the same effect, and says it has.
fn kind(answer: &Answer) -> String {
    use holdfast::domain::agent::Told;
    match answer {
        Answer::Variant {
            told: Told::Hold(hold),
            ..
        } => format!("{hold:?}"),
        Answer::Variant {
            told: Told::Nothing, ..
        } => "nothing".to_owned(),
        Answer::Variant {
            told: Told::Refused(refusal),
            ..
        } => format!("{refusal:?}"),
        Answer::Cart(_) | Answer::Order(_) => "told".to_owned(),
        Answer::Unanswered => "unanswered".to_owned(),
    }
}

/// Runs it with every fault at every place, alone and two at a time. `judge` compares an outcome with the one without.
pub(crate) fn with_every_fault<A, P>(
    start: &A,
    peers: &P,
    begin: impl Fn(&A, Timestamp) -> Result<Next<A>, A::Refusal>,
    now: Timestamp,
    judge: impl Fn(&Ran<A, P>, &Ran<A, P>, &[(Place, Fault)]),
) -> Ran<A, P>
where
    A: Agent,
    A::Happened: Clone,
    P: Peers,
{
    let smooth = run(start, peers, &begin, &[], now);
    judge(&smooth, &smooth, &[]);
    for first in places(&smooth.rounds) {
        for fault in FAULTS {
            let one = [(first, fault)];
            let ran = run(start, peers, &begin, &one, now);
            judge(&smooth, &ran, &one);
            for second in places(&ran.rounds).filter(|second| *second > first) {
                for other in FAULTS {
                    let two = [(first, fault), (second, other)];
                    judge(&smooth, &run(start, peers, &begin, &two, now), &two);
                }
            }
        }
    }
    smooth
}

fn places(rounds: &[usize]) -> impl Iterator<Item = Place> + use<> {
    let rounds = rounds.to_vec();
    (0..rounds.len()).flat_map(move |round| (0..rounds[round]).map(move |at| (round, at)).collect::<Vec<_>>())
}
