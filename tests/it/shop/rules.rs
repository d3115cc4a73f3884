//! The first record of a log says by which rules it is judged; a restart adds none.
use super::{House, on_both_logs, stock};
use holdfast::{
    config::JournalBackend,
    domain::rules::{Gate, Rules},
    storage::record::Fact,
};

on_both_logs!(a_log_begins_with_its_rules);

fn a_log_begins_with_its_rules(backend: JournalBackend) {
    let mut house = House::new(backend);
    house.run(|shop| async move {
        stock(&shop, "a", 1).await;
    });
    house.restart();
    house.run(|shop| async move {
        stock(&shop, "b", 1).await;
    });
    house.crash_and_open();
    house.run(|shop| async move {
        stock(&shop, "c", 1).await;
    });
    house.close();
    let audit = house.audit();
    let gates: Vec<(usize, &Gate)> = (0..)
        .zip(&audit.turns)
        .filter_map(|(place, turn)| match &turn.fact {
            Fact::Gate(gate) => Some((place, gate)),
            Fact::Variant(_)
            | Fact::Policy { .. }
            | Fact::Bulk { .. }
            | Fact::Told(_)
            | Fact::Cart(_)
            | Fact::Order(_) => None,
        })
        .collect();
    let first = Gate {
        rules: Rules::CURRENT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    assert_eq!(gates, [(0, &first)]);
    assert_eq!(audit.turns.len(), 4);
}
