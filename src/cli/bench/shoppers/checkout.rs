//! `--scenario checkout`: shoppers who add 1 to 5 lines and check out; 70 % pay, 10 % fail to and give up, 20 % walk away (half of
//! them before the checkout, half at the payment). Beside it, in the same run, single reserves over the same connections.
use std::collections::BTreeMap;
use std::net::SocketAddr;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::shopper::{Shopper, Told};
use super::{Difference, Expected, differences};
use crate::cli::bench::inspect;
use crate::cli::bench::round::{histogram, median};
use crate::cli::bench::run::BenchError;
use crate::cli::bench::schedule::{NANOS, Stopwatch, real};
use crate::cli::bench::server::{Server, address_of};
use crate::cli::bench::{BenchArgs, Judgement};
use crate::cli::output::progress_bar;
use crate::cli::{Failure, Output};

/// Variants unless told: enough that shoppers rarely meet.
const VARIANTS: u32 = 1_000;
/// The most lines of one cart.
const LINES_MAX: usize = 5;
/// Rounds unless told, each one of ways and one of single reserves.
const ROUNDS: u32 = 3;
/// What went wrong is told so many times.
const TROUBLES_TOLD: usize = 10;

/// How a shopper's way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Pays,
    Fails,
    LeavesTheCart,
    LeavesThePayment,
}

impl End {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..10) {
            0..7 => Self::Pays,
            7 => Self::Fails,
            8 => Self::LeavesTheCart,
            _ => Self::LeavesThePayment,
        }
    }
}

/// What one lane did in a round.
struct Done {
    paid: u64,
    failed: u64,
    left: u64,
    requests: u64,
    /// Held and committed units by variant.
    units: BTreeMap<usize, (i64, i64)>,
    add: Histogram<u64>,
    checkout: Histogram<u64>,
    confirm: Histogram<u64>,
    reserve: Histogram<u64>,
    troubles: Vec<String>,
}

impl Default for Done {
    fn default() -> Self {
        Self {
            paid: 0,
            failed: 0,
            left: 0,
            requests: 0,
            units: BTreeMap::new(),
            add: histogram(),
            checkout: histogram(),
            confirm: histogram(),
            reserve: histogram(),
            troubles: Vec::new(),
        }
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        self.paid += other.paid;
        self.failed += other.failed;
        self.left += other.left;
        self.requests += other.requests;
        for (variant, (held, committed)) in other.units {
            let units = self.units.entry(variant).or_default();
            units.0 += held;
            units.1 += committed;
        }
        for (mine, its) in [
            (&mut self.add, other.add),
            (&mut self.checkout, other.checkout),
            (&mut self.confirm, other.confirm),
            (&mut self.reserve, other.reserve),
        ] {
            mine.add(its).expect("histograms of one shape");
        }
        self.troubles.extend(other.troubles);
    }

    fn ways(&self) -> u64 {
        self.paid + self.failed + self.left
    }
}

/// Runs the scenario.
///
/// # Errors
/// [`Failure`] when the server cannot be reached or the run came to no end.
pub(in crate::cli::bench) async fn checkout(args: &BenchArgs, output: Output) -> Result<Judgement, Failure> {
    let run = format!("{:012x}", fastrand::u64(..) >> 16);
    let mut server = None;
    let address = match &args.url {
        Some(url) => address_of(url).map_err(BenchError::from)?,
        None => server.insert(Server::own(args, &run, None).await?).api,
    };
    let variants = args.variants.unwrap_or(VARIANTS) as usize;
    let names: Vec<String> = (0..variants).map(|index| format!("{run}-{index:06}")).collect();
    let (stock, prices) = (vec![args.stock; variants], vec![1_000; variants]);
    inspect::make_goods(address, names.clone(), stock, prices)
        .await
        .map_err(BenchError::from)?;
    let rounds = args.rounds.unwrap_or(ROUNDS);
    let bar = progress_bar();
    bar.set_length(u64::from(rounds) * 2);
    let stopwatch = Stopwatch::start();
    let (mut all, mut figures) = (Done::default(), Vec::new());
    for round in 0..rounds {
        let mut pair = [0.0; 2];
        // A B B A: a machine that grows slower favours neither.
        let order = if round % 2 == 0 {
            [true, false]
        } else {
            [false, true]
        };
        for ways in order {
            bar.set_message(if ways { "whole ways" } else { "single reserves" });
            let lanes = Lanes {
                address,
                run: &run,
                names: &names,
                round,
                ways,
            };
            let done = lanes.play(args, stopwatch).await?;
            let count = if ways { done.ways() } else { done.reserve.len() };
            pair[usize::from(!ways)] = real(count) / f64::from(args.seconds);
            all.add(done);
            bar.inc(1);
        }
        figures.push(pair);
    }
    bar.set_message("comparing the stock with the answers");
    let expected: BTreeMap<String, Expected> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let (held, committed) = all.units.get(&index).copied().unwrap_or_default();
            let on_hand = i64::try_from(args.stock).expect("a shop has fewer units than 2^63");
            (
                name.clone(),
                Expected {
                    on_hand,
                    held,
                    committed,
                },
            )
        })
        .collect();
    let found = inspect::final_stock(address, names, stopwatch)
        .await
        .map_err(BenchError::from)?;
    bar.finish_and_clear();
    let differing = differences(&expected, &found);
    let rss = server.as_ref().map(|server| server.usage().rss_bytes);
    if let Some(server) = server {
        server.stop().await;
    }
    let report = Report {
        args,
        all: &all,
        figures: &figures,
        differing: &differing,
        rss,
    };
    output.data(|| report.table(), &report.json())?;
    Ok(if differing.is_empty() && all.troubles.is_empty() {
        Judgement::Holds
    } else {
        Judgement::Violated
    })
}

/// The lanes of one round.
struct Lanes<'a> {
    address: SocketAddr,
    run: &'a str,
    names: &'a [String],
    round: u32,
    ways: bool,
}

impl Lanes<'_> {
    async fn play(&self, args: &BenchArgs, stopwatch: Stopwatch) -> Result<Done, Failure> {
        let end_ns = stopwatch.now_ns() + u64::from(args.seconds) * NANOS;
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..args.connections as usize {
            let run = format!("{}-{}{}", self.run, self.round, if self.ways { 'w' } else { 's' });
            let lane = Lane {
                shopper: Shopper::new(self.address, &run, lane),
                names: self.names.to_vec(),
                rng: fastrand::Rng::with_seed(
                    args.seed
                        .wrapping_add((lane as u64) << 20 | u64::from(self.round)),
                ),
                done: Done::default(),
                stopwatch,
            };
            tasks.spawn(lane.play(end_ns, self.ways));
        }
        let mut all = Done::default();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(done) => all.add(done?),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        Ok(all)
    }
}

/// One shopper after the other.
struct Lane {
    shopper: Shopper,
    names: Vec<String>,
    rng: fastrand::Rng,
    done: Done,
    stopwatch: Stopwatch,
}

impl Lane {
    async fn play(mut self, end_ns: u64, ways: bool) -> Result<Done, Failure> {
        while self.stopwatch.now_ns() < end_ns {
            if ways {
                self.way().await?;
            } else {
                self.reserve().await?;
            }
        }
        self.done.requests = self.shopper.requests;
        Ok(self.done)
    }

    async fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<(Told, u64), Failure> {
        let begun_ns = self.stopwatch.now_ns();
        let told = self.shopper.call(method, path, body).await;
        let told = told.map_err(|lost| Failure::failed(format!("{method} {path}: {lost}")))?;
        Ok((told, self.stopwatch.now_ns() - begun_ns))
    }

    fn trouble(&mut self, told: &Told, request: &str) {
        if self.done.troubles.len() < TROUBLES_TOLD {
            self.done.troubles.push(told.trouble(request));
        }
    }

    async fn reserve(&mut self) -> Result<(), Failure> {
        let variant = self.rng.usize(..self.names.len());
        let body = json!({"variantId": self.names[variant], "quantity": 1});
        let (told, took_ns) = self.call("POST", "/api/stock/reservations", &body).await?;
        if told.status == 201 {
            self.done.reserve.saturating_record(took_ns);
            self.done.units.entry(variant).or_default().0 += 1;
        } else {
            self.trouble(&told, "a reserve");
        }
        Ok(())
    }

    async fn way(&mut self) -> Result<(), Failure> {
        let end = End::draw(&mut self.rng);
        let mut cart: Option<String> = None;
        let mut units: BTreeMap<usize, i64> = BTreeMap::new();
        for _ in 0..self.rng.usize(1..=LINES_MAX) {
            let variant = self.rng.usize(..self.names.len());
            let quantity = self.rng.u32(1..=3);
            let mut body = json!({"variantId": self.names[variant], "quantity": quantity});
            if let Some(cart) = &cart {
                body["cartId"] = json!(cart);
            }
            let (added, took_ns) = self.call("POST", "/api/cart/items", &body).await?;
            if added.status != 201 {
                self.trouble(&added, "adding to a cart");
                continue;
            }
            self.done.add.saturating_record(took_ns);
            *units.entry(variant).or_default() += i64::from(quantity);
            cart = cart.or_else(|| added.text("id"));
        }
        let Some(cart) = cart else { return Ok(()) };
        if end == End::LeavesTheCart {
            self.done.left += 1;
            self.hold(units);
            return Ok(());
        }
        let path = format!("/api/cart/{cart}/checkout");
        let (opened, took_ns) = self.call("POST", &path, &json!({})).await?;
        let Some(order) = opened.text("id").filter(|_| opened.status == 201) else {
            self.trouble(&opened, "a checkout");
            self.hold(units);
            return Ok(());
        };
        self.done.checkout.saturating_record(took_ns);
        match end {
            End::Pays => {
                let body = json!({"paymentReference": format!("pay-{order}")});
                let (paid, took_ns) = self
                    .call("POST", &format!("/api/orders/{order}/confirm"), &body)
                    .await?;
                if paid.status == 200 {
                    self.done.confirm.saturating_record(took_ns);
                    self.done.paid += 1;
                    for (variant, quantity) in units {
                        self.done.units.entry(variant).or_default().1 += quantity;
                    }
                } else {
                    self.trouble(&paid, "a payment");
                }
            }
            End::Fails => {
                let (failed, _) = self
                    .call("POST", &format!("/api/orders/{order}/fail"), &json!({}))
                    .await?;
                if failed.status != 200 {
                    self.trouble(&failed, "a failed payment");
                }
                let (gone, _) = self
                    .call("DELETE", &format!("/api/cart/{cart}"), &Value::Null)
                    .await?;
                if gone.status == 204 {
                    self.done.failed += 1;
                } else {
                    self.trouble(&gone, "giving a cart up");
                }
            }
            End::LeavesTheCart | End::LeavesThePayment => {
                self.done.left += 1;
                self.hold(units);
            }
        }
        Ok(())
    }

    fn hold(&mut self, units: BTreeMap<usize, i64>) {
        for (variant, quantity) in units {
            self.done.units.entry(variant).or_default().0 += quantity;
        }
    }
}

/// What the scenario came to.
struct Report<'a> {
    args: &'a BenchArgs,
    all: &'a Done,
    /// Whole ways and single reserves a second, round by round.
    figures: &'a [[f64; 2]],
    differing: &'a [Difference],
    rss: Option<u64>,
}

impl Report<'_> {
    fn table(&self) -> String {
        let all = self.all;
        let mut text = format!(
            "checkout: {} connections, {} s a round; 1 to {LINES_MAX} lines, 70 % pay, 10 % fail, 20 % walk away\n\
             round     ways/s  single reserves/s  ratio\n",
            self.args.connections, self.args.seconds
        );
        for (number, [ways, reserves]) in self.figures.iter().enumerate() {
            text += &format!(
                "{:>5} {ways:>10.0} {reserves:>18.0} {:>6.3}\n",
                number + 1,
                ways / reserves.max(1e-9)
            );
        }
        let of = |at: usize| median(self.figures.iter().map(|pair| pair[at])).unwrap_or_default();
        text += &format!("  med {:>10.0} {:>18.0} {:>6.3}\n", of(0), of(1), self.ratio());
        for (name, latency) in self.latencies() {
            let ms = |quantile| real(latency.value_at_quantile(quantile)) / 1e6;
            text += &format!(
                "{name:<9} {:>8} answers, p50 {:.3} ms, p99 {:.3} ms\n",
                latency.len(),
                ms(0.5),
                ms(0.99)
            );
        }
        text += &format!(
            "ways      {} paid, {} failed, {} walked away\n",
            all.paid, all.failed, all.left
        );
        if let Some(rss) = self.rss {
            text += &format!("server    RSS {} MiB\n", rss >> 20);
        }
        for trouble in all.troubles.iter().take(TROUBLES_TOLD) {
            text += &format!("refused   {trouble}\n");
        }
        for one in self.differing.iter().take(TROUBLES_TOLD) {
            text += &format!(
                "differs   {}: {} is {}, the answers give {}\n",
                one.variant, one.figure, one.found, one.expected
            );
        }
        text += &format!(
            "stock     {} differences against the answers\n",
            self.differing.len()
        );
        text
    }

    fn ratio(&self) -> f64 {
        let ratios = self
            .figures
            .iter()
            .map(|[ways, reserves]| ways / reserves.max(1e-9));
        median(ratios).unwrap_or_default()
    }

    fn latencies(&self) -> [(&'static str, &Histogram<u64>); 4] {
        let all = self.all;
        [
            ("add", &all.add),
            ("checkout", &all.checkout),
            ("confirm", &all.confirm),
            ("reserve", &all.reserve),
        ]
    }

    fn json(&self) -> Value {
        let all = self.all;
        let latency = |of: &Histogram<u64>| {
            let ms = |quantile| real(of.value_at_quantile(quantile)) / 1e6;
            json!({"count": of.len(), "p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999)})
        };
        let latencies: serde_json::Map<String, Value> = self
            .latencies()
            .map(|(name, of)| (name.to_owned(), latency(of)))
            .into_iter()
            .collect();
        json!({
            "scenario": "checkout", "connections": self.args.connections, "seconds": self.args.seconds,
            "rounds": self.figures.iter().map(|[ways, reserves]| json!({"waysPerSecond": ways, "reservesPerSecond": reserves})).collect::<Vec<_>>(),
            "medianRatio": self.ratio(), "latencyMs": latencies, "paid": all.paid, "failed": all.failed, "walkedAway": all.left,
            "refused": all.troubles, "differences": self.differing, "rssBytes": self.rss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_have_their_shares() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            let place = match End::draw(&mut rng) {
                End::Pays => 0,
                End::Fails => 1,
                End::LeavesTheCart => 2,
                End::LeavesThePayment => 3,
            };
            counts[place] += 1;
        }
        let near = |count: u32, share: u32| count.abs_diff(share) < 250;
        assert!(near(counts[0], 7_000) && near(counts[1], 1_000), "{counts:?}");
        assert!(near(counts[2] + counts[3], 2_000), "{counts:?}");
    }
}
