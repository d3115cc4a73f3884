//! What a run prints: a table for people, the whole result as JSON for programs. Nothing of a run's speed is printed when it broke a law.

use std::fmt::Write as _;
use std::io::IsTerminal;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::BenchArgs;
use super::round::{GENERATOR_LAG_P99_MAX_NS, Round, median};
use super::run::overload::{GOODPUT_MIN, MEMORY_GROWTH_MAX, Overload, TIMES, TURNED_AWAY_P99_MAX_MS};
use super::run::{Judgement, RunResult};
use super::scenario::{BULK_LINES, Scenario, Target};
use super::schedule::real;
use super::verdict::Verdict;

/// Appends a line; writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { writeln!($out, $($text)*).expect("a string takes any text") };
}

/// A target's name in the report.
pub(super) fn name_of(target: Target) -> &'static str {
    match target {
        Target::Holdfast => "holdfast",
        Target::Echo => "echo",
    }
}

/// The rounds of one target that count for its medians.
fn valid(rounds: &[Round], target: Target) -> impl Iterator<Item = &Round> + Clone {
    rounds
        .iter()
        .filter(move |round| round.target == target && !round.is_void())
}

fn quantile_ms(latency: &Histogram<u64>, quantile: f64) -> f64 {
    real(latency.value_at_quantile(quantile)) / 1e6
}

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// Median over a target's valid rounds of each quantile.
fn latencies_ms(rounds: &[Round], target: Target, of: fn(&Round) -> &Histogram<u64>) -> Option<[f64; 5]> {
    let mut medians = [0.0; 5];
    for (slot, quantile) in medians.iter_mut().zip(QUANTILES) {
        *slot = median(valid(rounds, target).map(|round| quantile_ms(of(round), quantile)))?;
    }
    Some(medians)
}

/// Holdfast's throughput over the echo's, pair by pair.
fn ratios(rounds: &[Round]) -> Vec<f64> {
    let usable = |pair: &&[Round]| pair.len() == 2 && pair.iter().all(|round| !round.is_void());
    let ratio = |pair: &[Round]| {
        let of = |target| {
            pair.iter()
                .find(|round| round.target == target)
                .map(Round::throughput)
        };
        Some(of(Target::Holdfast)? / of(Target::Echo)?).filter(|ratio| ratio.is_finite())
    };
    rounds.chunks(2).filter(usable).filter_map(ratio).collect()
}

/// The whole result for programs.
pub(super) fn as_json(args: &BenchArgs, result: &RunResult) -> Value {
    let RunResult {
        setting,
        rounds,
        verdict,
        judgement,
    } = result;
    let judgement = *judgement;
    let mut told = json!({
        "scenario": args.scenario.name(),
        "loop": loop_of(args),
        "seconds": args.seconds, "warmupSeconds": args.warmup, "connections": args.connections, "seed": args.seed,
        "variants": setting.variants, "ownServer": setting.own_server, "dataInMemory": setting.in_memory, "stoppedCleanly": setting.stopped_cleanly,
        "diskSyncMs": setting.sync_floor.as_ref().map(quantiles_json),
        "cpus": format!("{:?}", args.cpus).to_lowercase(),
        "journal": args.journal.map(super::JournalKind::name),
        "judgement": name_of_judgement(judgement),
        "verdict": verdict,
    });
    if judgement != Judgement::Violated {
        told["rounds"] = rounds.iter().map(|round| round_json(args, round)).collect();
        let throughput = |target| median(valid(rounds, target).map(Round::throughput));
        if args.overload.is_none() {
            told["median"] = json!({
                "throughput": throughput(Target::Holdfast), "floorThroughput": throughput(Target::Echo),
                "ratio": median(ratios(rounds)),
            });
        } else if let Some(overload) = Overload::of(rounds) {
            told["overload"] = json!({
                "sentOfPeak": overload.sent, "goodputOfPeak": overload.goodput, "turnedAwayP99Ms": overload.turned_away_p99_ms,
                "memoryGrowth": overload.memory_growth, "afterOfPeak": overload.after,
            });
        }
    }
    told
}

fn loop_of(args: &BenchArgs) -> Value {
    match args.overload {
        Some(connections) => json!({"kind": "overload", "connections": connections}),
        None if args.max => json!({"kind": "closed"}),
        None => json!({"kind": "open", "rate": args.rate}),
    }
}

fn quantiles_json(of: &Histogram<u64>) -> Value {
    let [p50, p90, p99, p999, max] = QUANTILES.map(|quantile| quantile_ms(of, quantile));
    json!({"count": of.len(), "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max})
}

fn round_json(args: &BenchArgs, round: &Round) -> Value {
    let tally = round.tally;
    json!({
        "target": name_of(round.target), "void": round.is_void(), "throughput": round.throughput(),
        "linesPerSecond": round.throughput() * lines_of(args),
        "latencyMs": quantiles_json(&round.latency), "refusalLatencyMs": quantiles_json(&round.refusal_latency),
        "stormLatencyMs": quantiles_json(&round.storm_latency), "generatorLagMs": quantiles_json(&round.lag),
        "answers": {"done": tally.done, "soldOut": tally.sold_out, "ended": tally.ended, "shed": tally.shed,
            "unknown": tally.unknown, "unexpected": tally.unexpected},
        "waitedForConnection": round.waited, "unsent": round.unsent, "firstTrouble": round.first_trouble,
        "server": round.usage.map(|usage| json!({"cpuSeconds": usage.cpu_seconds, "rssBytes": usage.rss_bytes,
            "writtenBytes": usage.written_bytes, "syncs": usage.syncs})),
    })
}

fn lines_of(args: &BenchArgs) -> f64 {
    if args.scenario == Scenario::Bulk {
        f64::from(BULK_LINES)
    } else {
        1.0
    }
}

fn name_of_judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Holds => "holds",
        Judgement::Violated => "violated",
        Judgement::Void => "void",
    }
}

/// The table for people; no line is longer than 80 columns as long as the figures are of this world.
pub(super) fn as_table(args: &BenchArgs, result: &RunResult) -> String {
    let colours =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let RunResult {
        setting,
        rounds,
        verdict,
        judgement,
    } = result;
    let judgement = *judgement;
    let mut out = String::new();
    heading(&mut out, args, setting);
    if judgement != Judgement::Violated {
        speed_table(&mut out, args, rounds);
        counts(&mut out, rounds);
        server_use(&mut out, rounds);
        if let Some(told) = args.overload.and_then(|_| Overload::of(rounds)) {
            overload(&mut out, told);
        }
    }
    if !setting.stopped_cleanly {
        put!(
            out,
            "NOTE        a server of this run did not stop cleanly after SIGTERM"
        );
    }
    conclusion(&mut out, verdict, judgement, colours);
    out
}

fn heading(out: &mut String, args: &BenchArgs, setting: &super::run::Setting) {
    let pace = if let Some(connections) = args.overload {
        format!("closed loop (max throughput), flood of {connections}, closed loop")
    } else if args.max {
        "closed loop (max throughput)".to_owned()
    } else {
        format!(
            "open loop at {}/s, {:?} arrivals",
            grouped(args.rate),
            args.arrivals
        )
        .to_lowercase()
    };
    put!(out, "{}: {pace}", args.scenario.name());
    put!(
        out,
        "{} connections, {} variants, {} s a round after {} s of warm-up, seed {}",
        args.connections,
        setting.variants,
        args.seconds,
        args.warmup,
        args.seed
    );
    if setting.in_memory {
        put!(
            out,
            "NOTE: the data directory is in memory (tmpfs): a sync costs nothing there. Use --dir."
        );
    }
    if let Some(floor) = &setting.sync_floor {
        let [p50, p99] = [0.5, 0.99].map(|quantile| quantile_ms(floor, quantile));
        put!(
            out,
            "the bare disk: append + fdatasync p50 {p50:.3} ms, p99 {p99:.3} ms"
        );
    }
    put!(out, "");
}

fn speed_table(out: &mut String, args: &BenchArgs, rounds: &[Round]) {
    put!(
        out,
        "round target     answers/s      p50      p90      p99    p99.9      max  ms"
    );
    for (number, round) in rounds.iter().enumerate() {
        let name = name_of(round.target);
        let throughput = grouped(round.throughput());
        let lag = quantile_ms(&round.lag, 0.99);
        let row = if round.is_void() {
            format!("  void: the generator lagged {lag:.3} ms at p99")
        } else {
            columns(&QUANTILES.map(|quantile| quantile_ms(&round.latency, quantile)))
        };
        put!(out, "{:>5} {name:<8} {throughput:>11}{row}", number + 1);
    }
    for target in [Target::Holdfast, Target::Echo] {
        let throughput = median(valid(rounds, target).map(Round::throughput));
        // The rounds of an overload are not the same thing three times.
        let Some(throughput) = throughput.filter(|_| args.overload.is_none()) else {
            continue;
        };
        let rows = latencies_ms(rounds, target, |round| &round.latency).unwrap_or_default();
        put!(
            out,
            "  med {:<8} {:>11}{}",
            name_of(target),
            grouped(throughput),
            columns(&rows)
        );
        if args.scenario == Scenario::Bulk && target == Target::Holdfast {
            put!(
                out,
                "      {} lines/s, {BULK_LINES} a request",
                grouped(throughput * lines_of(args))
            );
        }
    }
    let ratios = ratios(rounds);
    if let Some(middle) = median(ratios.iter().copied()) {
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        put!(
            out,
            "ratio holdfast / echo: {middle:.3}   (rounds: {})",
            each.join(" ")
        );
    }
    put!(out, "");
}

fn columns(figures: &[f64; 5]) -> String {
    figures
        .iter()
        .fold(String::new(), |row, figure| format!("{row} {figure:>8.3}"))
}

fn counts(out: &mut String, rounds: &[Round]) {
    let ours: Vec<&Round> = served(rounds);
    let sum = |of: fn(&Round) -> u64| ours.iter().map(|round| of(round)).sum::<u64>();
    let count = |of: fn(&Round) -> u64| grouped(real(sum(of)));
    put!(
        out,
        "answers     {} done, {} sold out, {} ended, {} shed, {} unknown",
        count(|round| round.tally.done),
        count(|round| round.tally.sold_out),
        count(|round| round.tally.ended),
        count(|round| round.tally.shed),
        count(|round| round.tally.unknown)
    );
    let pooled = |of: fn(&Round) -> &Histogram<u64>| {
        let mut all = of(ours.first()?).clone();
        for round in &ours[1..] {
            all.add(of(round)).expect("histograms of the same bounds");
        }
        (!all.is_empty()).then_some(all)
    };
    if let Some(refused) = pooled(|round| &round.refusal_latency) {
        put!(out, "refusals    p99 {:.3} ms", quantile_ms(&refused, 0.99));
    }
    if let Some(storm) = pooled(|round| &round.storm_latency) {
        let [p99, max] = [0.99, 1.0].map(|quantile| quantile_ms(&storm, quantile));
        put!(
            out,
            "in the storm  p99 {p99:.3} ms, max {max:.3} ms over {} requests",
            grouped(real(storm.len()))
        );
    }
    if let Some(lag) = pooled(|round| &round.lag) {
        let [p99, max] = [0.99, 1.0].map(|quantile| quantile_ms(&lag, quantile));
        let waited = 100.0 * real(sum(|round| round.waited)) / real(lag.len());
        put!(
            out,
            "generator   lag p99 {p99:.3} ms (bound {:.1}), max {max:.3} ms;",
            bound_ms()
        );
        put!(
            out,
            "            {waited:.1} % of the requests waited for a free connection"
        );
    }
    let unsent = sum(|round| round.unsent);
    if unsent > 0 {
        put!(
            out,
            "OVERLOADED  {} requests never left; their wait so far is in the table",
            grouped(real(unsent))
        );
    }
    if let Some(trouble) = ours.iter().find_map(|round| round.first_trouble.as_ref()) {
        put!(out, "trouble     {trouble}");
    }
}

fn bound_ms() -> f64 {
    real(GENERATOR_LAG_P99_MAX_NS) / 1e6
}

/// The rounds the lower half is about: the service's, or the echo's when nothing else ran.
fn served(rounds: &[Round]) -> Vec<&Round> {
    let of = |target| {
        rounds
            .iter()
            .filter(|round| round.target == target)
            .collect::<Vec<_>>()
    };
    let ours = of(Target::Holdfast);
    if ours.is_empty() { of(Target::Echo) } else { ours }
}

fn server_use(out: &mut String, rounds: &[Round]) {
    let ours = served(rounds);
    let used: Vec<_> = ours.iter().filter_map(|round| round.usage).collect();
    let Some(last) = used.last() else { return };
    let answers: u64 = ours.iter().map(|round| round.latency.len()).sum();
    let cpu: f64 = used.iter().map(|usage| usage.cpu_seconds).sum();
    let written: u64 = used.iter().map(|usage| usage.written_bytes).sum();
    let mib = |bytes: u64| real(bytes) / 1_048_576.0;
    put!(
        out,
        "server      CPU {cpu:.2} s, RSS {:.0} MiB, {:.0} MiB written",
        mib(last.rss_bytes),
        mib(written)
    );
    let syncs: Option<u64> = used.iter().map(|usage| usage.syncs).sum();
    if let Some(syncs) = syncs {
        let each = real(syncs) / real(answers.max(1));
        put!(
            out,
            "            {} device syncs, {each:.4} an answer (warm-up included)",
            grouped(real(syncs))
        );
    }
}

/// What is left when too much is asked, each beside its target.
fn overload(out: &mut String, told: Overload) {
    let percent = |share: f64| 100.0 * share;
    put!(
        out,
        "overload    {:.1} times the peak was sent (wanted {TIMES:.0})",
        told.sent
    );
    put!(
        out,
        "            {:.1} % of the peak done (target {:.0});",
        percent(told.goodput),
        percent(GOODPUT_MIN)
    );
    put!(
        out,
        "            turned away within p99 {:.3} ms (target {TURNED_AWAY_P99_MAX_MS:.0});",
        told.turned_away_p99_ms
    );
    if let Some(growth) = told.memory_growth {
        put!(
            out,
            "            memory grew by {:.1} % beyond what grants take (target {:.0});",
            percent(growth),
            percent(MEMORY_GROWTH_MAX)
        );
    }
    put!(
        out,
        "            a second later {:.1} % of the peak",
        percent(told.after)
    );
}

fn conclusion(out: &mut String, verdict: &Verdict, judgement: Judgement, colours: bool) {
    let (colour, plain) = match (colours, judgement) {
        (false, _) => ("", ""),
        (true, Judgement::Holds) => ("\x1b[32m", "\x1b[0m"),
        (true, Judgement::Violated | Judgement::Void) => ("\x1b[31m", "\x1b[0m"),
    };
    match judgement {
        Judgement::Violated => {
            put!(
                out,
                "verdict     {colour}VIOLATED{plain}: {} violations; no speed",
                verdict.violation_count
            );
            for violation in &verdict.violations {
                put!(out, "  {}: {}", violation.law, violation.evidence);
            }
            let untold = verdict.violation_count - verdict.violations.len();
            if untold > 0 {
                put!(out, "  and {untold} more");
            }
        }
        Judgement::Void => {
            put!(
                out,
                "verdict     {colour}VOID{plain}: the generator lagged; lower --rate, or try --cpus split"
            );
            kept(out, verdict);
        }
        Judgement::Holds if verdict.grants + verdict.refusals + verdict.variants == 0 => {
            put!(out, "verdict     none: the floor keeps no stock");
        }
        Judgement::Holds => {
            put!(out, "verdict     {colour}HOLDS{plain}");
            kept(out, verdict);
        }
    }
}

/// What the checker looked at and found in order.
fn kept(out: &mut String, verdict: &Verdict) {
    let count = |number: usize| grouped(real(number as u64));
    let (grants, refusals, unknown) = (
        count(verdict.grants),
        count(verdict.refusals),
        count(verdict.unknown),
    );
    put!(
        out,
        "            no law broken: {grants} grants, {refusals} refusals, {unknown} unknown;"
    );
    let (variants, holds) = (count(verdict.variants), count(verdict.holds));
    put!(
        out,
        "            final state of {variants} variants and {holds} reservations agrees"
    );
}

/// A figure rounded to whole, in groups of three digits.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::run::Setting;
    use super::super::verdict::Violation;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn args(line: &str) -> BenchArgs {
        Line::parse_from(std::iter::once("bench").chain(line.split_whitespace())).bench
    }

    fn result(rounds: Vec<Round>, verdict: Verdict, judgement: Judgement) -> RunResult {
        let setting = Setting {
            variants: 1,
            in_memory: false,
            sync_floor: None,
            own_server: true,
            stopped_cleanly: true,
        };
        RunResult {
            setting,
            rounds,
            verdict,
            judgement,
        }
    }

    fn round(target: Target, answers: u64) -> Round {
        let mut round = Round::new(target, 10_000_000_000, true);
        round.answered_in_time = answers;
        round.tally.done = answers;
        for step in 1..=100_u64 {
            round.latency.record(step * 12_345_678).unwrap();
            round.lag.record(50_000).unwrap();
        }
        round.refusal_latency.record(1_000).unwrap();
        round.storm_latency.record(1_000).unwrap();
        round.usage = Some(super::super::round::Usage {
            syncs: Some(1_234_567),
            ..Default::default()
        });
        round
    }

    fn rounds() -> Vec<Round> {
        use Target::{Echo, Holdfast};
        [
            (Holdfast, 6_000_000),
            (Echo, 12_000_000),
            (Echo, 10_000_000),
            (Holdfast, 6_000_000),
        ]
        .map(|(target, answers)| round(target, answers))
        .into()
    }

    #[test]
    fn the_table_fits_eighty_columns_and_shows_every_round_and_the_ratio() {
        let verdict = Verdict {
            grants: 12_000_000,
            variants: 1,
            ..Verdict::default()
        };
        let args = args("--floor --rate 600000");
        let table = as_table(&args, &result(rounds(), verdict, Judgement::Holds));
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_eq!(
            table.matches("  600,000 ").count(),
            3,
            "two rounds and a median: {table}"
        );
        assert!(
            table.contains("ratio holdfast / echo: 0.550   (rounds: 0.500 0.600)"),
            "{table}"
        );
        assert!(table.contains("no law broken: 12,000,000 grants"), "{table}");
    }

    #[test]
    fn a_broken_law_leaves_no_speed() {
        let violation = Violation {
            law: "NO_OVERSELL",
            evidence: "variant 0: 4 of 3 units taken".to_owned(),
        };
        let verdict = Verdict {
            violations: vec![violation],
            violation_count: 1,
            ..Verdict::default()
        };
        let args = args("--floor");
        let result = result(rounds(), verdict, Judgement::Violated);
        let table = as_table(&args, &result);
        assert!(
            table.contains("VIOLATED") && table.contains("NO_OVERSELL: variant 0"),
            "{table}"
        );
        assert!(!table.contains("600,000"), "{table}");
        let json = as_json(&args, &result);
        assert_eq!(json.get("rounds"), None);
        assert_eq!(json["verdict"]["violations"][0]["law"], "NO_OVERSELL");
    }

    #[test]
    fn a_void_round_is_shown_and_left_out_of_the_medians() {
        let mut rounds = rounds();
        rounds[3].lag.record_n(9_000_000, 100).unwrap();
        rounds[3].answered_in_time = 0;
        let table = as_table(
            &args("--floor"),
            &result(rounds, Verdict::default(), Judgement::Holds),
        );
        assert!(table.contains("void: the generator lagged 9.0"), "{table}");
        assert!(table.contains("(rounds: 0.500)"), "{table}");
        assert!(table.contains("  med holdfast     600,000 "), "{table}");
    }

    #[test]
    fn figures_are_grouped() {
        assert_eq!(
            ["0", "12", "123", "1,234", "1,234,567"],
            [0.4, 12.0, 123.0, 1234.4, 1_234_567.0].map(grouped)
        );
    }
}
