//! Which setting suits a store's client best here: some are tried before the rounds, each for two moments, and the fastest is taken.

use std::time::Duration;

use crate::arena::Arena;
use crate::load::{Length, Setting};
use crate::plan::{Rival, Who};

/// Of one try.
const LENGTH: Length = Length {
    warmup: Duration::from_millis(200),
    measured: Duration::from_millis(600),
};

const fn setting(connections: usize, lanes: usize, batch: usize) -> Setting {
    Setting {
        connections,
        lanes,
        batch,
    }
}

/// Few and many in flight, over one connection and over several, and explicit pipelines.
const REDIS: [Setting; 6] = [
    setting(1, 64, 1),
    setting(1, 256, 1),
    setting(1, 1_024, 1),
    setting(4, 1_024, 1),
    setting(1, 4_096, 1),
    setting(4, 16, 256),
];
/// One transaction at a time on each connection; the last two pipeline.
const POSTGRES: [Setting; 5] = [
    setting(1, 1, 1),
    setting(4, 4, 1),
    setting(32, 32, 1),
    setting(4, 64, 1),
    setting(1, 256, 1),
];
const POSTGRES_BATCHED: [Setting; 5] = [
    setting(1, 1, 256),
    setting(2, 2, 256),
    setting(2, 2, 1_024),
    setting(4, 4, 1_024),
    setting(8, 8, 1_024),
];

/// What is tried.
pub(crate) fn candidates(who: Who) -> &'static [Setting] {
    match who {
        Who::Postgres => &POSTGRES,
        Who::PostgresBatched => &POSTGRES_BATCHED,
        Who::RedisAlways | Who::RedisEverysec | Who::Echo | Who::Domain | Who::Syncs => &REDIS,
    }
}

/// Finds the setting of each store among the rivals; the lines say what was tried and taken.
pub(crate) async fn settings(arena: &mut Arena, rivals: &[Rival]) -> Vec<String> {
    let mut lines = Vec::new();
    for rival in rivals {
        let who = rival.who;
        let known = arena.settings.iter().any(|(known, _)| *known == who);
        if known || who.group() == "floors" {
            continue;
        }
        let candidates = candidates(who);
        let mut tried: Vec<(Setting, f64)> = candidates.iter().map(|setting| (*setting, 0.0)).collect();
        // Forwards and backwards: one look of a moment says little.
        for at in (0..candidates.len()).chain((0..candidates.len()).rev()) {
            match arena.native(who, candidates[at], LENGTH).await {
                Ok(leg) => tried[at].1 += leg.rate / 2.0,
                Err(trouble) => crate::note(&format!("{}: {trouble}", candidates[at])),
            }
        }
        let best = best(&tried);
        let told: Vec<String> = tried
            .iter()
            .map(|(setting, rate)| format!("{setting}: {rate:.0}"))
            .collect();
        let (store, mode) = (who.store(), who.mode());
        lines.push(format!(
            "{store}, {mode}: **{best}** (a second: {})",
            told.join("; ")
        ));
        crate::note(lines.last().expect("just pushed"));
        arena.settings.push((who, best));
    }
    lines
}

fn best(tried: &[(Setting, f64)]) -> Setting {
    let most = tried.iter().max_by(|one, other| one.1.total_cmp(&other.1));
    most.expect("something was tried").0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_taken() {
        let tried = [(REDIS[0], 3.0), (REDIS[1], 5.0), (REDIS[2], 4.0)];
        assert_eq!(best(&tried), REDIS[1]);
    }
}
