//! What is told at the end: one table, every round, medians, verdicts.

use std::fmt::Write as _;

use crate::checker::Verdict;
use crate::plan::{Rival, beside};

/// One leg as measured.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    /// Holds (or echoes, turns, syncs) a second.
    pub(crate) rate: f64,
    /// From request to answer, ms: median and 99th percentile.
    pub(crate) times_ms: Option<(f64, f64)>,
    /// How busy the client's and the servers' cores were.
    pub(crate) busy: Option<(f64, f64)>,
    /// What the checker says; a floor has nothing to check.
    pub(crate) verdict: Option<Verdict>,
    /// What else went wrong.
    pub(crate) trouble: Option<String>,
}

impl Leg {
    /// A figure that counts: a leg that broke a law or did not come to its end has no speed.
    fn speed(&self) -> Option<f64> {
        let holds = !matches!(self.verdict, Some(Verdict::Broken(_)));
        (holds && self.rate > 0.0).then_some(self.rate)
    }
}

/// A leg that came to no figure.
pub(crate) fn failed(why: String) -> Leg {
    Leg {
        rate: 0.0,
        times_ms: None,
        busy: None,
        verdict: None,
        trouble: Some(why),
    }
}

/// All legs.
#[derive(Debug)]
pub(crate) struct Book {
    /// The rows.
    pub(crate) rivals: Vec<Rival>,
    /// Of each round, the legs of Holdfast.
    pub(crate) holdfast: Vec<Vec<Option<Leg>>>,
    /// Of each round, the legs of the rivals.
    pub(crate) rival_legs: Vec<Vec<Option<Leg>>>,
}

impl Book {
    /// Nothing measured yet.
    pub(crate) fn new(rivals: Vec<Rival>, rounds: usize) -> Self {
        let legs = rivals.len();
        Self {
            rivals,
            holdfast: vec![vec![None; legs.div_ceil(2)]; rounds],
            rival_legs: vec![vec![None; legs]; rounds],
        }
    }

    /// Whether every law held and every leg came to a figure.
    pub(crate) fn is_whole(&self) -> bool {
        self.legs()
            .all(|leg| leg.is_some_and(|leg| leg.speed().is_some()))
    }

    fn legs(&self) -> impl Iterator<Item = Option<&Leg>> {
        let all = self.holdfast.iter().chain(&self.rival_legs);
        all.flatten().map(Option::as_ref)
    }

    /// Of a rival, each round's figure of Holdfast over its own.
    fn ratios(&self, rival: usize) -> Vec<Option<f64>> {
        let rounds = self.holdfast.iter().zip(&self.rival_legs);
        let ratio = |(holdfast, legs): (&Vec<Option<Leg>>, &Vec<Option<Leg>>)| {
            let ours = holdfast[beside(rival)].as_ref()?.speed()?;
            Some(ours / legs[rival].as_ref()?.speed()?)
        };
        rounds.map(ratio).collect()
    }

    /// The table, as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from(
            "| store | mode | way | a second, each round | median | Holdfast / it, each round | median \
             | ms, p50 / p99 | busy, client / servers | verdict |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        // Of its several legs in a round, their median.
        let ours: Vec<Option<f64>> = self
            .holdfast
            .iter()
            .map(|legs| median(&speeds(legs.iter())))
            .collect();
        let legs: Vec<&Leg> = self.holdfast.iter().flatten().flatten().collect();
        row(&mut out, ["**Holdfast**", "durable", "HTTP"], &ours, &[], &legs);
        for (at, rival) in self.rivals.iter().enumerate() {
            let own = self.rival_legs.iter().map(|round| &round[at]);
            let figures: Vec<Option<f64>> = own.clone().map(|leg| leg.as_ref()?.speed()).collect();
            let legs: Vec<&Leg> = own.flatten().collect();
            let names = [rival.who.store(), rival.who.mode(), rival.way.name()];
            row(&mut out, names, &figures, &self.ratios(at), &legs);
        }
        out
    }
}

fn row(out: &mut String, names: [&str; 3], figures: &[Option<f64>], ratios: &[Option<f64>], legs: &[&Leg]) {
    let whole = |figure: f64| grouped(figure);
    let [store, mode, way] = names;
    let pairs = |pick: fn(&Leg) -> Option<(f64, f64)>| {
        let (first, second): (Vec<f64>, Vec<f64>) = legs.iter().filter_map(|leg| pick(leg)).unzip();
        median(&first).zip(median(&second))
    };
    let times =
        pairs(|leg| leg.times_ms).map_or(String::new(), |(half, most)| format!("{half:.2} / {most:.2}"));
    let busy = pairs(|leg| leg.busy).map_or(String::new(), |(client, servers)| {
        format!("{:.0} % / {:.0} %", client * 100.0, servers * 100.0)
    });
    let decimals = |ratio: f64| {
        if ratio < 0.1 {
            format!("{ratio:.4}")
        } else {
            format!("{ratio:.2}")
        }
    };
    writeln!(
        out,
        "| {store} | {mode} | {way} | {} | {} | {} | {} | {times} | {busy} | {} |",
        each(figures, whole),
        told(median(&known(figures)), whole),
        each(ratios, decimals),
        told(median(&known(ratios)), |ratio| format!("**{}**", decimals(ratio))),
        verdicts(legs),
    )
    .expect("writing to a string");
}

/// One word when all is well; else every kind of thing that is wrong.
fn verdicts(legs: &[&Leg]) -> String {
    let mut told: Vec<String> = Vec::new();
    let judged: Vec<&Verdict> = legs.iter().filter_map(|leg| leg.verdict.as_ref()).collect();
    let held: Vec<u64> = judged
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Holds(holds) => Some(*holds),
            Verdict::Broken(_) => None,
        })
        .collect();
    if !judged.is_empty() && held.len() == judged.len() {
        let sum: u64 = held.iter().sum();
        told.push(format!("HOLDS ({} legs, {} holds)", held.len(), digits(sum)));
    }
    let broken = judged
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::Broken(_)));
    told.extend(broken.map(ToString::to_string));
    told.extend(legs.iter().filter_map(|leg| leg.trouble.clone()));
    told.dedup();
    told.join("; ").replace('|', "/").replace('\n', " ")
}

fn speeds<'a>(legs: impl Iterator<Item = &'a Option<Leg>>) -> Vec<f64> {
    legs.filter_map(|leg| leg.as_ref()?.speed()).collect()
}

fn known(figures: &[Option<f64>]) -> Vec<f64> {
    figures.iter().flatten().copied().collect()
}

fn each(figures: &[Option<f64>], write: impl Fn(f64) -> String) -> String {
    let texts: Vec<String> = figures.iter().map(|figure| told(*figure, &write)).collect();
    texts.join(" ")
}

fn told(figure: Option<f64>, write: impl Fn(f64) -> String) -> String {
    figure.map_or("-".to_owned(), write)
}

/// The middle, or the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return Some(sorted[half]);
    }
    Some(f64::midpoint(*sorted.get(half.checked_sub(1)?)?, sorted[half]))
}

/// Rounded to a whole number, with a comma at every thousand.
fn grouped(figure: f64) -> String {
    let plain = format!("{figure:.0}");
    plain.parse().map_or(plain, digits)
}

fn digits(figure: u64) -> String {
    let plain = figure.to_string();
    let mut out = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{RIVALS, Way, Who};

    fn leg(rate: f64) -> Option<Leg> {
        Some(Leg {
            rate,
            times_ms: Some((1.0, 2.0)),
            busy: Some((0.5, 1.0)),
            verdict: Some(Verdict::Holds(1_000)),
            trouble: None,
        })
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.6), "1,000");
        assert_eq!(grouped(12.0), "12");
    }

    /// Two rounds of one rival.
    fn book() -> Book {
        let mut book = Book::new(RIVALS[..1].to_vec(), 2);
        book.holdfast = vec![vec![leg(100.0)], vec![leg(120.0)]];
        book.rival_legs = vec![vec![leg(50.0)], vec![leg(40.0)]];
        book
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let book = book();
        assert!(book.is_whole());
        let expected = Rival {
            who: Who::RedisAlways,
            way: Way::Native,
        };
        assert_eq!(book.rivals, [expected]);
        let table = book.markdown();
        let row = "| Redis | AOF always | native | 50 40 | 45 | 2.00 3.00 | **2.50** | 1.00 / 2.00 | 50 % / 100 % \
                   | HOLDS (2 legs, 2,000 holds) |";
        assert_eq!(table.lines().last(), Some(row));
    }

    #[test]
    fn a_leg_that_broke_a_law_has_no_speed() {
        let mut book = book();
        let bad = book.rival_legs[0][0].as_mut().unwrap();
        bad.verdict = Some(Verdict::Broken(vec!["oversold".to_owned()]));
        assert!(!book.is_whole());
        let row = "| Redis | AOF always | native | - 40 | 40 | - 3.00 | **3.00** | 1.00 / 2.00 | 50 % / 100 % \
                   | BROKEN: oversold |";
        assert_eq!(book.markdown().lines().last(), Some(row));
    }
}
