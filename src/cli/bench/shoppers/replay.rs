//! `--replay FILE`: real orders as carts and checkouts, cancellations as returns.
//!
//! Every article begins with as many units as the file sells of it. An order goes into a cart line by line, is checked out, paid and
//! shipped; a cancelled line is a return of the customer's latest orders that still have the article. Units that come back
//! without such an order (it was before the file, or nobody was named) are booked in. At the end every article must have
//! what plain arithmetic over the file gives: units at the start - units ordered + units cancelled, nothing held or committed.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::orders::{self, Invoice, Orders};
use super::shopper::{Shopper, Told};
use super::{Difference, Expected, differences};
use crate::cli::bench::inspect;
use crate::cli::bench::run::BenchError;
use crate::cli::bench::schedule::{Stopwatch, real, seconds, whole};
use crate::cli::bench::server::{Server, address_of};
use crate::cli::bench::{BenchArgs, Judgement};
use crate::cli::output::progress_bar;
use crate::cli::{Failure, Output};
use crate::domain::policy::LINES_PER_CART_MAX;

/// Lines of one order; larger baskets become several.
const LINES_PER_ORDER: usize = LINES_PER_CART_MAX as usize;
/// What went wrong is told so many times.
const TROUBLES_TOLD: usize = 10;

/// What one lane, or all of them, did.
#[derive(Debug, Default)]
struct Tally {
    orders: u64,
    order_lines: u64,
    returns: u64,
    return_lines: u64,
    booked_in: u64,
    requests: u64,
    repeats: u64,
    troubles: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.orders += other.orders;
        self.order_lines += other.order_lines;
        self.returns += other.returns;
        self.return_lines += other.return_lines;
        self.booked_in += other.booked_in;
        self.requests += other.requests;
        self.repeats += other.repeats;
        self.troubles.extend(other.troubles);
    }
}

/// Plays a file of orders.
///
/// # Errors
/// [`Failure`] when the file or the server cannot be read, or the run came to no end.
pub(in crate::cli::bench) async fn replay(args: &BenchArgs, output: Output) -> Result<Judgement, Failure> {
    let path = args.replay.as_deref().expect("the caller looked");
    let orders = orders::read(path).map_err(|error| Failure::failed(error.to_string()))?;
    let run = format!("{:012x}", fastrand::u64(..) >> 16);
    let mut server = None;
    let address = match &args.url {
        Some(url) => address_of(url).map_err(BenchError::from)?,
        None => server.insert(Server::own(args, &run, None).await?).api,
    };
    let expected = arithmetic(&orders);
    let names: Vec<String> = expected.keys().map(|article| name(&run, article)).collect();
    let stock = sold(&orders).into_values().collect();
    let prices = orders.prices.values().copied().collect();
    inspect::make_goods(address, names.clone(), stock, prices)
        .await
        .map_err(BenchError::from)?;
    let bar = progress_bar();
    bar.set_length(orders.invoices.len() as u64);
    bar.set_message(format!("orders of {}", path.display()));
    let stopwatch = Stopwatch::start();
    let tally = play(args, address, &run, &orders, &bar, stopwatch).await?;
    let took = seconds(stopwatch.now_ns());
    bar.set_message("comparing the stock with the file");
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
        orders: &orders,
        tally: &tally,
        took,
        differing: &differing,
        rss,
    };
    output.data(|| report.table(), &report.json())?;
    Ok(if differing.is_empty() && tally.troubles.is_empty() {
        Judgement::Holds
    } else {
        Judgement::Violated
    })
}

fn name(run: &str, article: &str) -> String {
    format!("{run}-{article}")
}

/// Units of each article that the file sells.
fn sold(orders: &Orders) -> BTreeMap<String, u64> {
    let mut sold: BTreeMap<String, u64> = orders.prices.keys().map(|article| (article.clone(), 0)).collect();
    for invoice in orders.invoices.iter().filter(|invoice| !invoice.cancels) {
        for (article, units) in &invoice.lines {
            *sold.get_mut(article).expect("every article has a price") += u64::from(*units);
        }
    }
    sold
}

/// What must be left of each article, by plain arithmetic over the file.
fn arithmetic(orders: &Orders) -> BTreeMap<String, Expected> {
    let units = |units: u64| i64::try_from(units).expect("a file has fewer units than 2^63");
    let mut left: BTreeMap<String, Expected> = sold(orders)
        .into_iter()
        .map(|(article, sold)| {
            let on_hand = units(sold);
            (
                article,
                Expected {
                    on_hand,
                    ..Expected::default()
                },
            )
        })
        .collect();
    for invoice in &orders.invoices {
        for (article, moved) in &invoice.lines {
            let left = left.get_mut(article).expect("every article has a price");
            left.on_hand += if invoice.cancels { 1 } else { -1 } * i64::from(*moved);
        }
    }
    left
}

/// Plays all invoices: those of one customer in file order, different ones side by side.
async fn play(
    args: &BenchArgs,
    address: SocketAddr,
    run: &str,
    orders: &Orders,
    bar: &ProgressBar,
    stopwatch: Stopwatch,
) -> Result<Tally, Failure> {
    let lanes = args.connections as usize;
    let mut queues: Vec<VecDeque<Invoice>> = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
    let mut lane_of: HashMap<&str, usize> = HashMap::new();
    for (number, invoice) in orders.invoices.iter().enumerate() {
        let next = number % lanes;
        let lane = match &invoice.customer {
            Some(customer) => *lane_of.entry(customer).or_insert(next),
            None => next,
        };
        queues[lane].push_back(Invoice {
            number: invoice.number.clone(),
            customer: invoice.customer.clone(),
            lines: invoice.lines.clone(),
            ..*invoice
        });
    }
    let played = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for (number, queue) in queues.into_iter().enumerate() {
        let lane = Lane {
            run: run.to_owned(),
            shopper: Shopper::new(address, run, number),
            shipped: HashMap::new(),
            tally: Tally::default(),
            played: Arc::clone(&played),
        };
        tasks.spawn(lane.play(queue, args.speed, stopwatch));
    }
    let mut tally = Tally::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            joined = tasks.join_next() => match joined {
                Some(Ok(done)) => tally.add(done?),
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                None => return Ok(tally),
            },
            _ = ticks.tick() => bar.set_position(played.load(Ordering::Relaxed)),
        }
    }
}

/// Customers one after the other.
struct Lane {
    run: String,
    shopper: Shopper,
    /// By customer and article: orders, latest last, with the units shipped and not returned.
    shipped: HashMap<(String, String), Vec<(String, u32)>>,
    tally: Tally,
    played: Arc<AtomicU64>,
}

impl Lane {
    async fn play(
        mut self,
        queue: VecDeque<Invoice>,
        speed: Option<f64>,
        stopwatch: Stopwatch,
    ) -> Result<Tally, Failure> {
        for invoice in queue {
            if let Some(speed) = speed {
                let due_ns = whole(real(invoice.at_seconds.unsigned_abs()) / speed * 1e9);
                let wait = due_ns.saturating_sub(stopwatch.now_ns());
                tokio::time::sleep(Duration::from_nanos(wait)).await;
            }
            if invoice.cancels {
                self.cancel(&invoice).await?;
            } else {
                for lines in invoice.lines.chunks(LINES_PER_ORDER) {
                    self.order(&invoice, lines).await?;
                }
            }
            self.played.fetch_add(1, Ordering::Relaxed);
        }
        self.tally.requests = self.shopper.requests;
        self.tally.repeats = self.shopper.repeats;
        Ok(self.tally)
    }

    async fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Told, Failure> {
        let told = self.shopper.call(method, path, body).await;
        told.map_err(|lost| Failure::failed(format!("{method} {path}: {lost}")))
    }

    fn trouble(&mut self, told: &Told, request: &str) {
        if self.tally.troubles.len() < TROUBLES_TOLD {
            self.tally.troubles.push(told.trouble(request));
        }
    }

    /// A cart, a checkout, a payment, a parcel. What is refused on the way is told, and shows in the stock.
    async fn order(&mut self, invoice: &Invoice, lines: &[(String, u32)]) -> Result<(), Failure> {
        let mut cart: Option<String> = None;
        for (article, units) in lines {
            let mut body = json!({"variantId": name(&self.run, article), "quantity": units, "sessionId": invoice.number});
            if let Some(cart) = &cart {
                body["cartId"] = json!(cart);
            }
            let added = self.call("POST", "/api/cart/items", &body).await?;
            if added.status != 201 {
                self.trouble(&added, &format!("adding {article} of invoice {}", invoice.number));
                continue;
            }
            cart = cart.or_else(|| added.text("id"));
        }
        let Some(cart) = cart else { return Ok(()) };
        let body = match &invoice.customer {
            Some(customer) => json!({"customerId": customer}),
            None => json!({}),
        };
        let opened = self
            .call("POST", &format!("/api/cart/{cart}/checkout"), &body)
            .await?;
        let Some(order) = opened.text("id").filter(|_| opened.status == 201) else {
            self.trouble(&opened, &format!("the checkout of invoice {}", invoice.number));
            return Ok(());
        };
        let paid = json!({"paymentReference": format!("pay-{}-{order}", invoice.number)});
        let paid = self
            .call("POST", &format!("/api/orders/{order}/confirm"), &paid)
            .await?;
        if paid.status != 200 {
            self.trouble(&paid, &format!("the payment of invoice {}", invoice.number));
            return Ok(());
        }
        let shipped = self
            .call("POST", &format!("/api/orders/{order}/fulfil"), &json!({}))
            .await?;
        if shipped.status != 200 {
            self.trouble(&shipped, &format!("the parcel of invoice {}", invoice.number));
            return Ok(());
        }
        self.tally.orders += 1;
        self.tally.order_lines += lines.len() as u64;
        if let Some(customer) = &invoice.customer {
            for (article, units) in lines {
                let bought = self
                    .shipped
                    .entry((customer.clone(), article.clone()))
                    .or_default();
                match bought.last_mut().filter(|(last, _)| *last == order) {
                    Some((_, sum)) => *sum += units,
                    None => bought.push((order.clone(), *units)),
                }
            }
        }
        Ok(())
    }

    /// Units come back: from the customer's latest orders first; what no order has is booked in.
    async fn cancel(&mut self, invoice: &Invoice) -> Result<(), Failure> {
        let mut by_order: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
        for (article, units) in &invoice.lines {
            let mut left = *units;
            let key = invoice
                .customer
                .clone()
                .map(|customer| (customer, article.clone()));
            let bought = key.and_then(|key| self.shipped.get_mut(&key));
            if let Some(bought) = bought {
                while left > 0
                    && let Some((order, there)) = bought.last_mut()
                {
                    let back = left.min(*there);
                    *by_order
                        .entry(order.clone())
                        .or_default()
                        .entry(article.clone())
                        .or_default() += back;
                    *there -= back;
                    left -= back;
                    if *there == 0 {
                        bought.pop();
                    }
                }
            }
            if left > 0 {
                self.book_in(invoice, article, left).await?;
            }
        }
        for (order, articles) in by_order {
            let lines: Vec<Value> = articles
                .iter()
                .map(|(article, units)| json!({"variantId": name(&self.run, article), "quantity": units}))
                .collect();
            self.tally.return_lines += lines.len() as u64;
            let body = json!({"lines": lines, "restock": true});
            let returned = self
                .call("POST", &format!("/api/orders/{order}/return"), &body)
                .await?;
            if returned.status == 200 {
                self.tally.returns += 1;
            } else {
                self.trouble(&returned, &format!("cancellation {}", invoice.number));
            }
        }
        Ok(())
    }

    async fn book_in(&mut self, invoice: &Invoice, article: &str, units: u32) -> Result<(), Failure> {
        let path = format!("/api/stock/variants/{}/adjustments", name(&self.run, article));
        let body = json!({"delta": units, "reason": "return without an order", "reference": invoice.number});
        let booked = self.call("POST", &path, &body).await?;
        if booked.status == 201 {
            self.tally.booked_in += 1;
        } else {
            self.trouble(&booked, &format!("booking in {article} of {}", invoice.number));
        }
        Ok(())
    }
}

/// What a replay came to.
struct Report<'a> {
    orders: &'a Orders,
    tally: &'a Tally,
    took: f64,
    differing: &'a [Difference],
    rss: Option<u64>,
}

impl Report<'_> {
    fn table(&self) -> String {
        let Self {
            orders,
            tally,
            took,
            differing,
            ..
        } = self;
        let per_second = |count: u64| real(count) / took.max(1e-9);
        let mut text = format!(
            "read        {} invoices, {} lines of {} articles; {} lines left out (no price, no article)\n\
             played      {} orders with {} lines, {} returns with {} lines, {} lines booked in without an order\n\
             took        {took:.1} s: {:.0} orders/s, {:.0} order lines/s, {:.0} requests/s\n\
             requests    {}, of which {} were sent again\n",
            orders.invoices.len(),
            orders.lines,
            orders.prices.len(),
            orders.left_out,
            tally.orders,
            tally.order_lines,
            tally.returns,
            tally.return_lines,
            tally.booked_in,
            per_second(tally.orders),
            per_second(tally.order_lines),
            per_second(tally.requests),
            tally.requests,
            tally.repeats,
        );
        if let Some(rss) = self.rss {
            text += &format!("server      RSS {} MiB\n", rss >> 20);
        }
        for trouble in tally.troubles.iter().take(TROUBLES_TOLD) {
            text += &format!("refused     {trouble}\n");
        }
        for one in differing.iter().take(TROUBLES_TOLD) {
            let Difference {
                variant,
                figure,
                expected,
                found,
            } = one;
            text += &format!("differs     {variant}: {figure} is {found}, the file gives {expected}\n");
        }
        text += &format!(
            "stock       {} differences in {} articles against plain arithmetic over the file\n",
            differing.len(),
            orders.prices.len()
        );
        text
    }

    fn json(&self) -> Value {
        let Self {
            orders,
            tally,
            took,
            differing,
            rss,
        } = self;
        json!({
            "invoices": orders.invoices.len(), "lines": orders.lines, "articles": orders.prices.len(), "leftOut": orders.left_out,
            "orders": tally.orders, "orderLines": tally.order_lines, "returns": tally.returns, "returnLines": tally.return_lines,
            "bookedIn": tally.booked_in, "requests": tally.requests, "repeats": tally.repeats, "seconds": took,
            "refused": tally.troubles, "differences": differing, "rssBytes": rss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice(number: &str, cancels: bool, lines: &[(&str, u32)]) -> Invoice {
        Invoice {
            number: number.to_owned(),
            customer: None,
            at_seconds: 0,
            cancels,
            lines: lines
                .iter()
                .map(|(article, units)| ((*article).to_owned(), *units))
                .collect(),
        }
    }

    #[test]
    fn what_is_left_is_start_minus_ordered_plus_cancelled() {
        let orders = Orders {
            invoices: vec![
                invoice("1", false, &[("a", 5), ("a", 2), ("b", 1)]),
                invoice("C2", true, &[("a", 3), ("c", 4)]),
            ],
            prices: ["a", "b", "c"].map(|article| (article.to_owned(), 100)).into(),
            lines: 5,
            left_out: 0,
        };
        let left = arithmetic(&orders);
        let on_hand: Vec<i64> = left.values().map(|expected| expected.on_hand).collect();
        assert_eq!(on_hand, [3, 0, 4], "7 - 7 + 3, 1 - 1, 0 + 4");
        assert!(
            left.values()
                .all(|expected| expected.held == 0 && expected.committed == 0)
        );
    }
}
