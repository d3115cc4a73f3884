//! The payload of one record.
use super::{
    Bits, Key, List, Mirror, Moment, bounded, bulk, cart, event::Event, key_of, mark_of, order,
    policy::PolicyChanged, told::Told, variant::View,
};
use crate::{
    domain::{
        ids::{StoreId, VariantId, VariantOrdinal},
        rules::{self, Rules},
    },
    storage::{dto::FormatError, record},
};
use bincode::{BorrowDecode, Encode};

/// One turn of one entity.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Turn<'a> {
    at: Moment,
    fact: Fact<'a>,
    key: Option<Key>,
}

#[derive(Encode, BorrowDecode)]
enum Fact<'a> {
    Variant(VariantFact<'a>),
    Policy(&'a str, PolicyChanged),
    Bulk(Bits, bulk::Event<'a>),
    Gate(Gate<'a>),
    Told(Told<'a>),
    Cart(cart::Cart<'a>, List<'a, cart::Happened<'a>>),
    Order(order::Order<'a>, List<'a, order::Happened<'a>>),
}

/// A rule set and the release that switched it on. Part of a turn, and a row.
#[derive(Encode, BorrowDecode)]
pub(in crate::storage::dto) struct Gate<'a> {
    rules: u32,
    release: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct VariantFact<'a> {
    ordinal: u32,
    revision: u64,
    named: Option<(&'a str, &'a str)>,
    events: List<'a, Event<'a>>,
    view: Option<Box<View<'a>>>,
}

impl<'a> Mirror<'a> for Turn<'a> {
    type Domain = record::Turn;

    fn of(domain: &'a record::Turn) -> Self {
        Self {
            at: domain.at.into(),
            fact: match &domain.fact {
                record::Fact::Variant(fact) => Fact::Variant(VariantFact::of(fact)),
                record::Fact::Policy { store, changed } => {
                    Fact::Policy(store.as_str(), PolicyChanged::of(changed))
                }
                record::Fact::Bulk { id, event } => Fact::Bulk((*id).into(), bulk::Event::of(event)),
                record::Fact::Gate(gate) => Fact::Gate(Gate::of(gate)),
                record::Fact::Told(told) => Fact::Told(Told::of(told)),
                record::Fact::Cart(fact) => Fact::Cart(cart::Cart::of(&fact.cart), List::Of(&fact.happened)),
                record::Fact::Order(fact) => {
                    Fact::Order(order::Order::of(&fact.order), List::Of(&fact.happened))
                }
            },
            key: domain.key.as_ref().map(key_of),
        }
    }

    fn restore(self) -> Result<record::Turn, FormatError> {
        Ok(record::Turn {
            at: self.at.into(),
            fact: match self.fact {
                Fact::Variant(fact) => record::Fact::Variant(fact.restore()?),
                Fact::Policy(store, changed) => record::Fact::Policy {
                    store: StoreId::parse(store)?,
                    changed: changed.restore()?,
                },
                Fact::Bulk(id, event) => record::Fact::Bulk {
                    id: id.into(),
                    event: event.restore()?,
                },
                Fact::Gate(gate) => record::Fact::Gate(gate.restore()?),
                Fact::Told(told) => record::Fact::Told(told.restore()?),
                Fact::Cart(cart, happened) => record::Fact::Cart(Box::new(record::CartFact {
                    cart: cart.restore()?,
                    happened: bounded(happened.restore()?)?,
                })),
                Fact::Order(order, happened) => record::Fact::Order(Box::new(record::OrderFact {
                    order: order.restore()?,
                    happened: bounded(happened.restore()?)?,
                })),
            },
            key: self.key.map(mark_of),
        })
    }
}

impl<'a> Mirror<'a> for Gate<'a> {
    type Domain = rules::Gate;

    fn of(domain: &'a rules::Gate) -> Self {
        Self {
            rules: domain.rules.0,
            release: &domain.release,
        }
    }

    /// Whether the rules are known is asked by whoever replays: this build must be able to name them.
    fn restore(self) -> Result<rules::Gate, FormatError> {
        Ok(rules::Gate {
            rules: Rules(self.rules),
            release: self.release.to_owned(),
        })
    }
}

impl<'a> Mirror<'a> for VariantFact<'a> {
    type Domain = record::VariantFact;

    fn of(domain: &'a record::VariantFact) -> Self {
        let named = domain.named.as_ref();
        Self {
            ordinal: domain.ordinal.0,
            revision: domain.revision,
            named: named.map(|(store, id)| (store.as_str(), id.as_str())),
            events: List::Of(&domain.events),
            view: domain.view.as_deref().map(|view| Box::new(View::of(view))),
        }
    }

    fn restore(self) -> Result<record::VariantFact, FormatError> {
        let events: Vec<_> = self.events.restore()?;
        if events.is_empty() {
            return Err(FormatError::Invalid("a variant's turn without events"));
        }
        let name = |(store, id)| Ok::<_, FormatError>((StoreId::parse(store)?, VariantId::parse(id)?));
        Ok(record::VariantFact {
            ordinal: VariantOrdinal(self.ordinal),
            revision: self.revision,
            named: self.named.map(name).transpose()?,
            events,
            view: self.view.map(|view| view.restore()).transpose()?.map(Box::new),
        })
    }
}
