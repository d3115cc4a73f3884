//! Runs the stories of `tests/scenario`: each line is a time, a command and the expected answer.
//!
//! ```text
//! == name of the story
//! 0s   create 3                -> created | on_hand 3 available 3
//! 1s   reserve a qty 2 ttl 60s -> held a 2 until 61s
//! ```
//! Before `|` stands what happened, after it any figures of the variant (or `a.word` of reservation `a`) worth saying.
//! After every line the laws are asked, and the state is rebuilt from its events alone and from its stored parts at
//! every earlier line. `HOLDFAST_BLESS=1` writes the answers into the files, to be read before they are committed.
use crate::world::{Answer, START, Stored, World};
use holdfast::domain::{
    bulk::Attempt,
    ids::{BulkId, CartId, CustomerId, OrderId, ReservationId, SessionId, Slot, VariantOrdinal},
    policy::{HoldLengths, Terms},
    time::{MILLIS_PER_DAY, Timestamp},
    variant::{
        AfterSale, Command, Confirm, Event, Extend, ForOrder, Fulfilment, Hold, HoldStatus, OrderStep, Phase,
        Prepare, Refusal, ReservationMode, Reserve, SaleState, Settings, Shopper,
    },
};
use std::{collections::BTreeMap, fs, path::Path};

#[test]
fn every_story_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenario");
    let bless = std::env::var_os("HOLDFAST_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let told = run_file(&path, &text);
        files += 1;
        if told == text {
            continue;
        }
        if bless {
            fs::write(&path, told).unwrap();
            continue;
        }
        for (number, (said, is)) in text
            .lines()
            .zip(told.lines())
            .enumerate()
            .filter(|(_, (a, b))| a != b)
        {
            let place = format!("{}:{}", path.display(), number + 1);
            wrong.push(format!("{place}\n  said: {said}\n  is:   {is}"));
        }
    }
    assert!(files > 0, "no stories in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file as it would be if every expected answer were right.
fn run_file(path: &Path, text: &str) -> String {
    let mut told = String::new();
    let mut story = Story::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        if line.starts_with("==") {
            story = Story::new();
        }
        let telling = line.split_once("->").filter(|_| !line.starts_with('#'));
        match telling {
            None => told.push_str(line),
            Some((asked, expected)) => {
                let asked = asked.trim_end();
                let width = line.find("->").unwrap_or(0).max(asked.len() + 1);
                let answer = story.line(asked, expected, &place);
                told.push_str(format!("{asked:width$}-> {answer}").trim_end());
            }
        }
        told.push('\n');
    }
    told
}

struct Story {
    world: World,
    names: BTreeMap<String, ReservationId>,
    stored: Vec<Stored>,
    terms: Terms,
    now: Timestamp,
}

/// The words of a command after its name: positional ones are taken from the front, named ones by their name.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn first(&mut self) -> &'a str {
        self.0.remove(0)
    }

    fn flag(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|word| *word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    fn after(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|word| *word == name)?;
        self.0.remove(at);
        Some(self.0.remove(at))
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let word = self.after(name)?;
        Some(
            word.parse()
                .unwrap_or_else(|_| panic!("{name} {word} is not a number")),
        )
    }

    fn length(&mut self, name: &str) -> Option<i64> {
        self.after(name).map(length_ms)
    }
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::new("story", VariantOrdinal(1)),
            names: BTreeMap::new(),
            stored: Vec::new(),
            terms: Terms {
                lengths: HoldLengths {
                    ttl_ms: 60_000,
                    extension_ms: 30_000,
                    max_extensions: 2,
                },
                payment_ttl_ms: 300_000,
                max_ttl_ms: 3_600_000,
                units_per_customer: None,
                window_days: None,
            },
            now: START,
        }
    }

    fn line(&mut self, asked: &str, expected: &str, place: &str) -> String {
        let mut words = Words(asked.split_whitespace().collect());
        let now = START.saturating_add(length_ms(words.first()));
        assert!(now >= self.now, "{place}: time runs forward");
        self.now = now;
        self.stored.push(self.world.store());
        let happened = self.command(&mut words);
        assert!(words.0.is_empty(), "{place}: {:?} not understood", words.0);
        self.world.expect_replay_equal();
        for stored in &self.stored {
            self.world.expect_restore_equal(stored);
        }
        let Some((_, figures)) = expected.split_once('|') else {
            return happened;
        };
        let names: Vec<&str> = figures.split_whitespace().step_by(2).collect();
        let figures: Vec<String> = names
            .iter()
            .map(|name| format!("{name} {}", self.figure(name)))
            .collect();
        format!("{happened} | {}", figures.join(" "))
            .trim_start()
            .to_owned()
    }

    fn command(&mut self, words: &mut Words<'_>) -> String {
        let name = words.first();
        match name {
            "look" => return String::new(),
            "terms" => {
                self.change_terms(words);
                return "understood".to_owned();
            }
            "crowd" => return self.crowd(words),
            "expire" => {
                let limit = words.number("limit").unwrap_or(256);
                let events = self.world.expire(self.now, limit);
                return self.events(&events);
            }
            _ => {}
        }
        let version = words.number("version");
        let command = self.parse(name, words).if_version(version);
        let answer = self.world.ask(&command, self.now);
        self.answer(&answer)
    }

    fn change_terms(&mut self, words: &mut Words<'_>) {
        let terms = &mut self.terms;
        terms.lengths.ttl_ms = words.length("ttl").unwrap_or(terms.lengths.ttl_ms);
        terms.lengths.extension_ms = words.length("extension").unwrap_or(terms.lengths.extension_ms);
        terms.lengths.max_extensions = words.number("extensions").unwrap_or(terms.lengths.max_extensions);
        terms.payment_ttl_ms = words.length("payment").unwrap_or(terms.payment_ttl_ms);
        terms.max_ttl_ms = words.length("max_ttl").unwrap_or(terms.max_ttl_ms);
        terms.units_per_customer = words.number("limit").or(terms.units_per_customer);
        terms.window_days = words.number("window").or(terms.window_days);
    }

    /// Many shoppers with one unit each.
    fn crowd(&mut self, words: &mut Words<'_>) -> String {
        let count: u32 = words.first().parse().unwrap();
        let ttl_ms = words.length("ttl");
        let mut granted = 0;
        for number in 1..=count {
            let ask = Reserve {
                id: self.id(&format!("c{number}")),
                quantity: 1,
                shopper: Shopper::default(),
                ttl_ms,
                allow_partial: false,
                terms: self.terms,
                for_order: None,
            };
            let answer = self.world.ask(&Command::Reserve(ask), self.now);
            granted += u32::from(matches!(answer, Answer::Granted(_)));
        }
        format!("{granted} held")
    }

    fn parse(&mut self, name: &str, words: &mut Words<'_>) -> Command {
        let by = "story".to_owned();
        match name {
            "create" => Command::Create {
                on_hand: words.first().parse().unwrap(),
                settings: Box::new(settings(words)),
                by,
            },
            "change" => Command::Change {
                settings: Box::new(settings(words)),
            },
            "set" => Command::SetStock {
                on_hand: words.first().parse().unwrap(),
                by,
            },
            "adjust" => Command::Adjust {
                delta: words.first().parse().unwrap(),
                reason: "counted".to_owned(),
                reference: None,
                expected_on_hand: words.number("expect"),
                by,
            },
            "sale" => Command::SetSale {
                sale: sale(words.first()),
            },
            "delete" => Command::Delete,
            "reserve" => Command::Reserve(self.reserve(words)),
            "take" => Command::Take(self.reserve(words)),
            "rehome" => Command::Rehome {
                id: self.id(words.first()),
                quantity: words.number("qty").unwrap_or(u32::MAX),
                shopper: shopper(words),
                terms: self.terms,
            },
            "fold" => Command::Fold {
                into: self.id(words.first()),
                from: words.after("from").map(|name| self.id(name)),
                quantity: words.number("qty").unwrap(),
                terms: self.terms,
                seen: words.number("seen"),
            },
            "see" => Command::Look {
                id: self.id(words.first()),
            },
            "order" => self.for_order(words),
            "extend" => Command::Extend(self.extend(words)),
            "resize" => Command::Resize {
                id: self.id(words.first()),
                quantity: words.first().parse().unwrap(),
                terms: self.terms,
            },
            "confirm" => Command::Confirm(Confirm {
                id: self.id(words.first()),
                quantity: words.number("qty"),
                order: words.after("order").map(|text| OrderId::parse(text).unwrap()),
            }),
            "release" => Command::Release {
                id: self.id(words.first()),
            },
            "fulfil" => Command::Fulfil(self.after_sale(words)),
            "cancel" => Command::Cancel(self.after_sale(words)),
            "return" => Command::Return(self.after_sale(words)),
            "prepare" => {
                let attempt = attempt(words.first());
                let prepare = match words.first() {
                    "reserve" => Prepare::Reserve(self.reserve(words)),
                    "extend" => Prepare::Extend(self.extend(words)),
                    "confirm" => Prepare::Confirm(self.id(words.first())),
                    "release" => Prepare::Release(self.id(words.first())),
                    "pay" => Prepare::Pay {
                        id: self.id(words.first()),
                        shopper: shopper(words),
                        terms: self.terms,
                        for_order: for_order(words).expect("whose"),
                    },
                    other => panic!("cannot prepare {other}"),
                };
                Command::Prepare { attempt, prepare }
            }
            "settle" => Command::Settle {
                attempt: attempt(words.first()),
                id: self.id(words.first()),
                commit: match words.first() {
                    "commit" => true,
                    "abort" => false,
                    other => panic!("cannot settle with {other}"),
                },
                decided_at: words
                    .length("decided")
                    .map_or(self.now, |ms| START.saturating_add(ms)),
                shopper: Some(shopper(words)).filter(|shopper| shopper.owner().is_some()),
            },
            other => panic!("no command {other}"),
        }
    }

    fn reserve(&mut self, words: &mut Words<'_>) -> Reserve {
        Reserve {
            id: self.id(words.first()),
            quantity: words.number("qty").unwrap_or(1),
            shopper: shopper(words),
            ttl_ms: words.length("ttl"),
            allow_partial: words.flag("partial"),
            terms: self.terms,
            for_order: for_order(words),
        }
    }

    /// `order 1 confirm a paid 60s`: order 1 tells its reservation `a`.
    fn for_order(&mut self, words: &mut Words<'_>) -> Command {
        let order = made_order(words.first());
        let what = words.first();
        let id = self.id(words.first());
        let step = match what {
            "confirm" => OrderStep::Confirm {
                paid_at: words
                    .length("paid")
                    .map_or(self.now, |ms| START.saturating_add(ms)),
            },
            "release" => OrderStep::Release,
            "reopen" => OrderStep::Reopen {
                ttl_ms: words.length("ttl").unwrap_or(self.terms.lengths.ttl_ms),
            },
            "totals" => OrderStep::Totals {
                fulfilment: Fulfilment {
                    shipped: words.number("shipped").unwrap_or(0),
                    cancelled: words.number("cancelled").unwrap_or(0),
                    returned: words.number("returned").unwrap_or(0),
                },
                restock: !words.flag("scrap"),
                closed: self.world.gone.get(&id).cloned().map(Box::new),
                by: "story".to_owned(),
                keep_ms: words.length("keep").unwrap_or(3_600_000),
            },
            other => panic!("an order does not {other}"),
        };
        Command::ForOrder { order, id, step }
    }

    fn extend(&mut self, words: &mut Words<'_>) -> Extend {
        Extend {
            id: self.id(words.first()),
            by_ms: words.length("by"),
            phase: words.after("phase").map(|word| match word {
                "cart" => Phase::Cart,
                "payment" => Phase::Payment,
                other => panic!("no phase {other}"),
            }),
            terms: self.terms,
            seen: words.number("seen"),
        }
    }

    fn after_sale(&mut self, words: &mut Words<'_>) -> AfterSale {
        let id = self.id(words.first());
        AfterSale {
            id,
            quantity: words.number("qty"),
            restock: !words.flag("scrap"),
            closed: self.world.gone.get(&id).cloned().map(Box::new),
            by: "story".to_owned(),
            keep_ms: words.length("keep").unwrap_or(3_600_000),
        }
    }

    /// The reservation a story calls by this name; a new name is a fresh id.
    fn id(&mut self, name: &str) -> ReservationId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = self.world.fresh_id(self.now);
        self.names.insert(name.to_owned(), id);
        id
    }

    fn name(&self, id: ReservationId) -> &str {
        let found = self.names.iter().find(|(_, named)| **named == id);
        found.map_or("?", |(name, _)| name)
    }

    // --- telling what happened ---

    fn answer(&self, answer: &Answer) -> String {
        match answer {
            Answer::Nothing => "nothing held".to_owned(),
            Answer::Granted(events) if events.is_empty() => "nothing".to_owned(),
            Answer::Granted(events) => self.events(events),
            Answer::Repeat(hold) => format!(
                "repeat {} {} {}",
                self.name(hold.id),
                hold.status.as_str(),
                hold.quantity
            ),
            Answer::Refused(events, refusal) if events.is_empty() => {
                format!("refused {}", self.refusal(refusal))
            }
            Answer::Refused(events, refusal) => {
                format!("{}, refused {}", self.events(events), self.refusal(refusal))
            }
        }
    }

    /// Long runs of the same word are counted.
    fn events(&self, events: &[Event]) -> String {
        let many = |event: &Event| matches!(event, Event::Expired(_)) && events.len() > 8;
        let expired = events.iter().filter(|event| many(event)).count();
        let told = events
            .iter()
            .filter(|event| !many(event))
            .map(|event| self.event(event));
        let counted = (expired > 0).then(|| format!("{expired} expired"));
        let told: Vec<String> = counted.into_iter().chain(told).collect();
        if told.is_empty() {
            "nothing".to_owned()
        } else {
            told.join(", ")
        }
    }

    fn event(&self, event: &Event) -> String {
        let entry = event.ledger_entry().map_or(String::new(), |entry| {
            format!(" {} {:+}", entry.kind.as_str(), entry.delta)
        });
        let name = event.hold().map_or("", |hold| self.name(hold.id));
        let until = |hold: &Hold| format!("{name} {} until {}", hold.quantity, moment(hold.expires_at));
        match event {
            Event::Created { .. } => format!("created{entry}"),
            Event::SettingsChanged { .. } => "changed".to_owned(),
            Event::SaleChanged { sale } => format!("sale {}", sale.as_str()),
            Event::StockChanged { .. } => format!("stock{entry}"),
            Event::Deleted => "deleted".to_owned(),
            Event::Held(hold) => format!("held {}", until(hold)),
            Event::Extended(hold) => format!("extended {}", until(hold)),
            Event::Resized(hold) => format!("resized {}", until(hold)),
            Event::Pinned(hold) if hold.status == HoldStatus::Tentative => {
                format!("tentative {name} {}", hold.quantity)
            }
            Event::Pinned(_) => format!("pinned {name}"),
            Event::Unpinned(_) => format!("unpinned {name}"),
            Event::Withdrawn(_) => format!("withdrawn {name}"),
            Event::Released(_) => format!("released {name}"),
            Event::Expired(_) => format!("expired {name}"),
            Event::Closed(_) => format!("closed {name}"),
            Event::Rehomed { hold, .. } => format!("rehomed {}", until(hold)),
            Event::Confirmed { hold, given_back: 0 } => format!("confirmed {name} {}", hold.quantity),
            Event::Confirmed { hold, given_back } => {
                format!("confirmed {name} {} gave back {given_back}", hold.quantity)
            }
            Event::Fulfilled { quantity, .. } => format!("fulfilled {name} {quantity}{entry}"),
            Event::Cancelled { quantity, .. } => format!("cancelled {name} {quantity}{entry}"),
            Event::Returned { quantity, .. } => format!("returned {name} {quantity}{entry}"),
        }
    }

    fn refusal(&self, refusal: &Refusal) -> String {
        let maybe = |word: &str, at: &Option<Timestamp>| {
            at.map_or(String::new(), |at| format!(" {word} {}", moment(at)))
        };
        match refusal {
            Refusal::VariantNotFound => "variant_not_found".to_owned(),
            Refusal::AlreadyExists => "already_exists".to_owned(),
            Refusal::ReservationNotFound => "reservation_not_found".to_owned(),
            Refusal::InsufficientStock {
                available,
                next_release_at,
                contended,
                ..
            } => {
                let contended = if *contended { " contended" } else { "" };
                format!(
                    "insufficient_stock available {available}{}{contended}",
                    maybe("next", next_release_at)
                )
            }
            Refusal::SaleNotOpen {
                sale,
                opens_at,
                closes_at,
            } => {
                format!(
                    "sale_not_open {}{}{}",
                    sale.as_str(),
                    maybe("opens", opens_at),
                    maybe("closed", closes_at)
                )
            }
            Refusal::LimitReached { limit, taken, .. } => format!("limit_reached {limit} taken {taken}"),
            Refusal::AlreadyHeld { id } => format!("already_held {}", self.name(*id)),
            Refusal::TtlTooLong { max_ms } => format!("ttl_too_long max {}", length(*max_ms)),
            Refusal::ExtensionLimit { max_expires_at } => {
                format!("extension_limit {}", moment(*max_expires_at))
            }
            Refusal::ReservationExpired { at } => format!("expired at {}", moment(*at)),
            Refusal::ReservationReleased { at } => format!("released at {}", moment(*at)),
            Refusal::ReservationConfirmed { at } => format!("confirmed at {}", moment(*at)),
            Refusal::NotConfirmed => "not_confirmed".to_owned(),
            Refusal::QuantityExceeds { requested, allowed } => {
                format!("quantity_exceeds {requested} of {allowed}")
            }
            Refusal::InFlight => "in_flight".to_owned(),
            Refusal::BelowHeld {
                held,
                committed,
                least,
            } => {
                format!("below_held held {held} committed {committed} least {least}")
            }
            Refusal::ExpectedMismatch { on_hand } => format!("expected_mismatch on_hand {on_hand}"),
            Refusal::VersionMismatch { current } => format!("version_mismatch {current}"),
            Refusal::HasActiveHolds { held, committed } => {
                format!("has_active_holds held {held} committed {committed}")
            }
            Refusal::OutOfRange => "out_of_range".to_owned(),
            Refusal::OwnedByOrder { .. } => "owned_by_order".to_owned(),
        }
    }

    fn figure(&self, name: &str) -> String {
        if let Some((name, word)) = name.split_once('.') {
            return self.hold_figure(name, word);
        }
        let view = self.world.variant.view(self.now);
        let head = &view.head;
        let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "none".to_owned());
        match name {
            "on_hand" => head.on_hand.to_string(),
            "held" => view.held.to_string(),
            "committed" => view.committed.to_string(),
            "available" => or_none(view.available.map(|units| units.to_string())),
            "published" => or_none(
                self.world
                    .variant
                    .published_available()
                    .map(|units| units.to_string()),
            ),
            "status" => view.status.as_str().to_owned(),
            "next" => or_none(view.next_release_at.map(moment)),
            "deadline" => or_none(self.world.variant.next_deadline().map(moment)),
            "version" => head.version.to_string(),
            "revision" => head.revision.to_string(),
            "ledger" => head.ledger_seq.to_string(),
            "received" => head.flows.received.to_string(),
            "written_off" => head.flows.written_off.to_string(),
            "shipped" => head.flows.shipped.to_string(),
            "returned" => head.flows.returned.to_string(),
            "kept" => self.world.variant.holds().len().to_string(),
            other => panic!("no figure {other}"),
        }
    }

    fn hold_figure(&self, name: &str, word: &str) -> String {
        let id = self.names[name];
        let Some(hold) = self.world.variant.hold(id) else {
            return "gone".to_owned();
        };
        match word {
            "status" => hold.status.as_str().to_owned(),
            "until" => moment(hold.expires_at),
            "latest" => moment(hold.max_expires_at),
            "extensions" => hold.extensions_left.to_string(),
            "version" => hold.version.to_string(),
            "qty" => hold.quantity.to_string(),
            "phase" => format!("{:?}", hold.phase).to_lowercase(),
            "ended" => hold.ended.map_or("none".to_owned(), |end| moment(end.at)),
            "owned" => hold.owning_order().is_some().to_string(),
            other => panic!("no figure {other} of a reservation"),
        }
    }
}

fn settings(words: &mut Words<'_>) -> Settings {
    Settings {
        safety_stock: words.number("safety").unwrap_or(0),
        backorder_limit: words.number("backorder").unwrap_or(0),
        reservation_mode: if words.flag("untracked") {
            ReservationMode::Untracked
        } else if words.flag("on_checkout") {
            ReservationMode::OnCheckout
        } else {
            ReservationMode::OnCart
        },
        low_stock_threshold: words.number("low").unwrap_or(0),
        opens_at: words.length("opens").map(|ms| START.saturating_add(ms)),
        closes_at: words.length("closes").map(|ms| START.saturating_add(ms)),
        one_hold_per_customer: words.flag("one_hold"),
        hold_ttl_ms: words.length("ttl"),
        units_per_customer: words.number("limit"),
        ..Settings::default()
    }
}

fn shopper(words: &mut Words<'_>) -> Shopper {
    Shopper {
        customer: words.after("for").map(|text| CustomerId::parse(text).unwrap()),
        session: words.after("session").map(|text| SessionId::parse(text).unwrap()),
        cart: words.after("cart").map(|text| CartId::parse(text).unwrap()),
    }
}

/// `order 1 until 400s`: for order 1, whose holds end by themselves at that moment.
fn for_order(words: &mut Words<'_>) -> Option<ForOrder> {
    let order = made_order(words.after("order")?);
    let pay_by = words.length("until").expect("until when");
    Some(ForOrder {
        order,
        pay_by: START.saturating_add(pay_by),
    })
}

/// An order made here.
fn made_order(number: &str) -> OrderId {
    OrderId::made(START, Slot::of_cart(1), number.parse().unwrap())
}

fn sale(word: &str) -> SaleState {
    let all = [
        SaleState::Open,
        SaleState::Paused,
        SaleState::Draining,
        SaleState::Closed,
    ];
    let found = all.into_iter().find(|sale| sale.as_str() == word);
    found.unwrap_or_else(|| panic!("no sale state {word}"))
}

/// `1.2` is the second try of coordinator 1.
fn attempt(word: &str) -> Attempt {
    let (bulk, number) = word.split_once('.').unwrap();
    Attempt {
        bulk: BulkId(bulk.parse().unwrap()),
        number: number.parse().unwrap(),
    }
}

/// `90s`, `59999ms`, `2h`, `31d`.
fn length_ms(word: &str) -> i64 {
    let units = [("ms", 1), ("s", 1000), ("h", 3_600_000), ("d", MILLIS_PER_DAY)];
    let parsed = units.iter().find_map(|(unit, ms)| {
        let figure: i64 = word.strip_suffix(unit)?.parse().ok()?;
        Some(figure * ms)
    });
    parsed.unwrap_or_else(|| panic!("{word} is not a length"))
}

fn moment(at: Timestamp) -> String {
    length(at.since(START))
}

fn length(ms: i64) -> String {
    if ms % 1000 == 0 {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}
