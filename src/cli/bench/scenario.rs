//! The workloads: which request comes next, and its bytes.

use std::collections::VecDeque;

use super::ledger::HoldId;
use super::schedule::real;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Every buyer takes one unit of one variant.
    Hot,
    /// One unit each of 10,000 variants, popularity by Zipf's law with exponent 1.
    Zipf,
    /// Reserve; then 70 % confirm, 20 % release, 10 % are left to expire.
    Lifecycle,
    /// 95 % of the buyers ask for a variant that is sold out, 5 % for one that is not.
    Soldout,
    /// 100 lines a request, all or nothing.
    Bulk,
    /// Live traffic while many holds fall due in one second.
    ExpiryStorm,
    /// No stock at all: the bare JSON echo, the floor of what HTTP costs here.
    Echo,
}

impl Scenario {
    /// How many variants the scenario uses unless told.
    pub(super) fn variants(self) -> u32 {
        match self {
            Scenario::Hot | Scenario::Echo => 1,
            Scenario::Soldout => 2,
            Scenario::Lifecycle | Scenario::ExpiryStorm => 100,
            Scenario::Bulk => 1_000,
            Scenario::Zipf => 10_000,
        }
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scenario::Hot => "hot",
            Scenario::Zipf => "zipf",
            Scenario::Lifecycle => "lifecycle",
            Scenario::Soldout => "soldout",
            Scenario::Bulk => "bulk",
            Scenario::ExpiryStorm => "expiry-storm",
            Scenario::Echo => "echo",
        }
    }
}

/// Lines of one bulk request.
pub(super) const BULK_LINES: u32 = 100;
/// Units of the variant that `soldout` floods; gone in the first moments.
pub(super) const SOLDOUT_STOCK: u64 = 100;
/// How long an abandoned hold of `lifecycle` lives: short, so that it expires within the run.
const ABANDONED_TTL_SECONDS: u32 = 2;

/// What is to become of a hold once it is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing in this run.
    Keep,
    /// The buyer pays.
    Confirm,
    /// The buyer thinks again.
    Release,
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Hold one unit.
    Reserve {
        /// Index of the variant.
        variant: u32,
        /// Life of the hold; the store's policy when `None`.
        ttl_seconds: Option<u32>,
        /// What happens next to it.
        fate: Fate,
    },
    /// Hold one unit each of [`BULK_LINES`] variants, counted round from the first.
    Bulk {
        /// Index of the first variant.
        first: u32,
    },
    /// Confirm a hold.
    Confirm {
        /// The hold.
        hold: HoldId,
        /// Index of its variant.
        variant: u32,
    },
    /// Give a hold back.
    Release {
        /// The hold.
        hold: HoldId,
        /// Index of its variant.
        variant: u32,
    },
}

/// Whom the requests are for: it changes their target line and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The stock service.
    Holdfast,
    /// The echo: the same bodies and heads, sent to its two routes.
    Echo,
}

/// The seeded source of requests of one run. It outlives the rounds, so that no key is ever used twice.
#[derive(Debug)]
pub(super) struct Plan {
    scenario: Scenario,
    rng: fastrand::Rng,
    zipf: Option<Zipf>,
    /// `"bench-<run>-<index>"` of each variant, quoted as JSON.
    names: Vec<Vec<u8>>,
    run: String,
    next_key: u64,
    endings: VecDeque<(HoldId, u32, Fate)>,
    preload: Option<Preload>,
}

/// Holds to be made before the measured part, all due at one moment.
#[derive(Debug, Clone, Copy)]
struct Preload {
    left: u64,
    due_ns: u64,
}

impl Plan {
    /// The plan of a run; `run` (lower-case hex) keeps its variants and keys apart from those of other runs.
    pub(super) fn new(scenario: Scenario, variants: u32, run: String, seed: u64) -> Plan {
        let zipf = (scenario == Scenario::Zipf).then(|| Zipf::new(variants));
        let names = (0..variants)
            .map(|index| format!("\"{}\"", variant_name(&run, index)).into_bytes())
            .collect();
        let rng = fastrand::Rng::with_seed(seed);
        Plan {
            scenario,
            rng,
            zipf,
            names,
            run,
            next_key: 0,
            endings: VecDeque::new(),
            preload: None,
        }
    }

    /// How many variants there are.
    pub(super) fn variants(&self) -> u32 {
        u32::try_from(self.names.len()).expect("made from a u32")
    }

    /// The id of a variant.
    pub(super) fn variant(&self, index: u32) -> String {
        variant_name(&self.run, index)
    }

    /// From now on make `holds` holds that fall due together, at `due_ns`; then nothing until [`Plan::go_live`].
    pub(super) fn preload(&mut self, holds: u64, due_ns: u64) {
        self.preload = Some(Preload { left: holds, due_ns });
    }

    /// Ends the preload.
    pub(super) fn go_live(&mut self) {
        self.preload = None;
    }

    /// The next request; `None` once a preload is complete.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Ask> {
        if let Some(preload) = &mut self.preload {
            if preload.left == 0 {
                return None;
            }
            preload.left -= 1;
            let left_ns = preload.due_ns.saturating_sub(now_ns);
            // Rounded to whole seconds, so the holds fall due within half a second of the moment.
            let ttl = u32::try_from((left_ns + 500_000_000) / 1_000_000_000).expect("a ttl of seconds");
            let variant = self.any_variant();
            return Some(Ask::Reserve {
                variant,
                ttl_seconds: Some(ttl.max(1)),
                fate: Fate::Keep,
            });
        }
        if let Some((hold, variant, fate)) = self.endings.pop_front() {
            return Some(match fate {
                Fate::Release => Ask::Release { hold, variant },
                Fate::Confirm | Fate::Keep => Ask::Confirm { hold, variant },
            });
        }
        Some(self.arrival())
    }

    /// A new buyer.
    fn arrival(&mut self) -> Ask {
        let kept = |variant| Ask::Reserve {
            variant,
            ttl_seconds: None,
            fate: Fate::Keep,
        };
        match self.scenario {
            Scenario::Hot | Scenario::Echo | Scenario::ExpiryStorm => kept(self.any_variant()),
            Scenario::Zipf => {
                let at = self.rng.f64();
                kept(self.zipf.as_ref().expect("made with the scenario").pick(at))
            }
            Scenario::Soldout => kept(u32::from(self.rng.u8(0..20) == 0)),
            Scenario::Bulk => Ask::Bulk {
                first: self.any_variant(),
            },
            Scenario::Lifecycle => {
                let variant = self.any_variant();
                match self.rng.u8(0..10) {
                    0..7 => Ask::Reserve {
                        variant,
                        ttl_seconds: None,
                        fate: Fate::Confirm,
                    },
                    7..9 => Ask::Reserve {
                        variant,
                        ttl_seconds: None,
                        fate: Fate::Release,
                    },
                    _ => Ask::Reserve {
                        variant,
                        ttl_seconds: Some(ABANDONED_TTL_SECONDS),
                        fate: Fate::Keep,
                    },
                }
            }
        }
    }

    fn any_variant(&mut self) -> u32 {
        let variants = self.variants();
        if variants == 1 {
            0
        } else {
            self.rng.u32(0..variants)
        }
    }

    /// A hold was granted: its next step becomes the next request.
    pub(super) fn granted(&mut self, hold: HoldId, variant: u32, fate: Fate) {
        if fate != Fate::Keep {
            self.endings.push_back((hold, variant, fate));
        }
    }

    /// The variants of a bulk request, in the order of its lines.
    pub(super) fn bulk_lines(&self, first: u32) -> impl Iterator<Item = u32> + use<> {
        let variants = self.variants();
        (0..BULK_LINES.min(variants)).map(move |line| (first + line) % variants)
    }

    /// The index in the name of one of our variants.
    pub(super) fn index_of(name: &[u8]) -> Option<u32> {
        let dash = name.iter().rposition(|&byte| byte == b'-')?;
        std::str::from_utf8(&name[dash + 1..]).ok()?.parse().ok()
    }

    /// Writes the request, with a key that no other request has.
    pub(super) fn write(&mut self, ask: &Ask, target: Target, body: &mut Vec<u8>, out: &mut Vec<u8>) {
        out.clear();
        body.clear();
        self.write_body(ask, body);
        write_target(ask, target, out);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: ");
        out.extend_from_slice(self.run.as_bytes());
        out.push(b'-');
        write_hex(self.next_key, out);
        self.next_key += 1;
        if body.is_empty() {
            out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        out.extend_from_slice(b"\r\nContent-Type: application/json\r\nContent-Length: ");
        write_decimal(u64::try_from(body.len()).expect("a body fits u64"), out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }

    fn write_body(&self, ask: &Ask, body: &mut Vec<u8>) {
        match *ask {
            Ask::Reserve {
                variant, ttl_seconds, ..
            } => {
                body.extend_from_slice(b"{\"variantId\":");
                body.extend_from_slice(&self.names[variant as usize]);
                body.extend_from_slice(b",\"quantity\":1");
                if let Some(ttl) = ttl_seconds {
                    body.extend_from_slice(b",\"ttlSeconds\":");
                    write_decimal(u64::from(ttl), body);
                }
                body.push(b'}');
            }
            Ask::Bulk { first } => {
                body.extend_from_slice(b"{\"action\":\"reserve\",\"mode\":\"all_or_nothing\",\"lines\":[");
                for variant in self.bulk_lines(first) {
                    body.extend_from_slice(b"{\"variantId\":");
                    body.extend_from_slice(&self.names[variant as usize]);
                    body.extend_from_slice(b",\"quantity\":1},");
                }
                body.pop();
                body.extend_from_slice(b"]}");
            }
            Ask::Confirm { .. } | Ask::Release { .. } => {}
        }
    }
}

fn write_target(ask: &Ask, target: Target, out: &mut Vec<u8>) {
    match (target, ask) {
        (Target::Echo, Ask::Bulk { .. }) => out.extend_from_slice(b"POST /api/echo/bulk"),
        (Target::Echo, _) => out.extend_from_slice(b"POST /api/echo"),
        (Target::Holdfast, Ask::Reserve { .. }) => out.extend_from_slice(b"POST /api/stock/reservations"),
        (Target::Holdfast, Ask::Bulk { .. }) => out.extend_from_slice(b"POST /api/stock/reservations/bulk"),
        (Target::Holdfast, Ask::Confirm { hold, .. }) => {
            out.extend_from_slice(b"POST /api/stock/reservations/");
            hold.write(out);
            out.extend_from_slice(b"/confirm");
        }
        (Target::Holdfast, Ask::Release { hold, .. }) => {
            out.extend_from_slice(b"DELETE /api/stock/reservations/");
            hold.write(out);
        }
    }
}

fn variant_name(run: &str, index: u32) -> String {
    format!("bench-{run}-{index}")
}

fn write_decimal(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).expect("a digit");
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_hex(value: u64, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in value.to_be_bytes() {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Zipf's law with exponent 1: the k-th of n is picked with weight 1/k.
#[derive(Debug)]
struct Zipf {
    /// Share of picks at or before each rank; the last is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(ranks: u32) -> Zipf {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = Vec::with_capacity(ranks as usize);
        for rank in 1..=u64::from(ranks) {
            sum += 1.0 / real(rank);
            cumulative.push(sum);
        }
        for share in &mut cumulative {
            *share /= sum;
        }
        Zipf { cumulative }
    }

    /// The rank at a point in `0.0..1.0`.
    fn pick(&self, at: f64) -> u32 {
        let rank = self
            .cumulative
            .partition_point(|&share| share <= at)
            .min(self.cumulative.len() - 1);
        u32::try_from(rank).expect("ranks came from a u32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: Scenario) -> Plan {
        Plan::new(scenario, scenario.variants(), "ab".to_owned(), 1)
    }

    fn text(plan: &mut Plan, ask: &Ask, target: Target) -> String {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        plan.write(ask, target, &mut body, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_carries_its_key_and_length() {
        let mut plan = plan(Scenario::Hot);
        let ask = plan.next(0).unwrap();
        let body = "{\"variantId\":\"bench-ab-0\",\"quantity\":1}";
        let head = "POST /api/stock/reservations HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: ab-0000000000000000\r\n\
                    Content-Type: application/json\r\nContent-Length: 39\r\n\r\n";
        assert_eq!(text(&mut plan, &ask, Target::Holdfast), format!("{head}{body}"));
        let again = text(&mut plan, &ask, Target::Echo);
        assert!(again.starts_with("POST /api/echo HTTP/1.1"), "{again}");
        assert!(again.contains("ab-0000000000000001"), "a key of its own: {again}");
    }

    #[test]
    fn a_granted_hold_meets_its_fate_in_the_next_request() {
        let mut plan = plan(Scenario::Lifecycle);
        let hold = HoldId::parse(b"00000000000000000000000000000001").unwrap();
        plan.granted(hold, 3, Fate::Keep);
        plan.granted(hold, 3, Fate::Release);
        let ask = plan.next(0).unwrap();
        assert_eq!(ask, Ask::Release { hold, variant: 3 });
        let written = text(&mut plan, &ask, Target::Holdfast);
        assert!(
            written.starts_with("DELETE /api/stock/reservations/rsv_00000000000000000000000000000001 HTTP")
        );
        assert!(matches!(plan.next(0), Some(Ask::Reserve { .. })));
    }

    #[test]
    fn the_shares_are_as_promised() {
        let mut life = plan(Scenario::Lifecycle);
        let mut fates = [0_u32; 3];
        let mut flood = plan(Scenario::Soldout);
        let mut in_stock = 0_u32;
        for _ in 0..100_000 {
            let Some(Ask::Reserve {
                fate, ttl_seconds, ..
            }) = life.next(0)
            else {
                panic!("a reserve")
            };
            assert_eq!(
                ttl_seconds.is_some(),
                fate == Fate::Keep,
                "only who abandons gets a short ttl"
            );
            fates[fate as usize] += 1;
            let Some(Ask::Reserve { variant, .. }) = flood.next(0) else {
                panic!("a reserve")
            };
            in_stock += variant;
        }
        assert!((9_500..10_500).contains(&fates[Fate::Keep as usize]), "{fates:?}");
        assert!(
            (69_000..71_000).contains(&fates[Fate::Confirm as usize]),
            "{fates:?}"
        );
        assert!((4_700..5_300).contains(&in_stock), "{in_stock}");
    }

    #[test]
    fn zipf_gives_the_first_rank_its_weight() {
        let mut plan = plan(Scenario::Zipf);
        let mut first = 0_u32;
        for _ in 0..100_000 {
            let Some(Ask::Reserve { variant, .. }) = plan.next(0) else {
                panic!("a reserve")
            };
            first += u32::from(variant == 0);
        }
        // 1 / H(10,000) = 0.1022
        assert!((9_800..10_650).contains(&first), "{first} of 100,000");
    }

    #[test]
    fn a_bulk_request_has_a_hundred_different_lines() {
        let mut plan = plan(Scenario::Bulk);
        let written = text(&mut plan, &Ask::Bulk { first: 950 }, Target::Holdfast);
        let body: serde_json::Value =
            serde_json::from_str(written.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let mut names: Vec<&str> = body["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["variantId"].as_str().unwrap())
            .collect();
        assert_eq!(Plan::index_of(names[99].as_bytes()), Some(49));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn a_preload_aims_at_its_moment_and_ends() {
        let mut plan = plan(Scenario::ExpiryStorm);
        plan.preload(1, 10_000_000_000);
        let Some(Ask::Reserve { ttl_seconds, .. }) = plan.next(2_400_000_000) else {
            panic!("a reserve")
        };
        assert_eq!(ttl_seconds, Some(8));
        assert_eq!(plan.next(2_400_000_000), None);
        plan.go_live();
        assert!(plan.next(2_400_000_000).is_some());
    }
}
