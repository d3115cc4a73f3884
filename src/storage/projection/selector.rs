//! What reservations are listed by: eight bytes for each store, variant, customer and cart.
//!
//! The hash is the first 8 bytes of BLAKE3 over `holdfast-list-1`, the kind, and store and id, each with its length in
//! front. It is stored in the index of ended reservations, so its definition is frozen by a golden test.
use crate::domain::{
    ids::{CustomerId, StoreId, VariantOrdinal},
    variant::{Hold, HoldStatus, Shopper},
};

/// The kinds of lists; the numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::storage) enum Kind {
    Store = 1,
    Variant = 2,
    Customer = 3,
    Cart = 4,
}

/// Room for what is hashed, with ids of usual length.
const USUAL_BYTES: usize = 128;

/// One list: its kind and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Selector {
    pub(in crate::storage) kind: Kind,
    pub(in crate::storage) hash: u64,
}

impl Selector {
    fn of(kind: Kind, store: &StoreId, id: &[u8]) -> Self {
        // In one piece, for a hasher that is fed part by part costs several times as much.
        let mut text = Vec::with_capacity(USUAL_BYTES);
        text.extend_from_slice(b"holdfast-list-1");
        text.push(kind as u8);
        for part in [store.as_str().as_bytes(), id] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        let digest = blake3::hash(&text);
        let (hash, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a digest has 32 bytes");
        Self {
            kind,
            hash: u64::from_be_bytes(*hash),
        }
    }

    pub(in crate::storage) fn store(store: &StoreId) -> Self {
        Self::of(Kind::Store, store, b"")
    }

    pub(in crate::storage) fn variant(store: &StoreId, ordinal: VariantOrdinal) -> Self {
        Self::of(Kind::Variant, store, &ordinal.0.to_be_bytes())
    }

    pub(in crate::storage) fn customer(store: &StoreId, customer: &CustomerId) -> Self {
        Self::of(Kind::Customer, store, customer.as_str().as_bytes())
    }

    pub(in crate::storage) fn customer_of(store: &StoreId, shopper: &Shopper) -> Option<Self> {
        let customer = shopper.customer.as_ref()?;
        Some(Self::customer(store, customer))
    }

    pub(in crate::storage) fn cart(store: &StoreId, shopper: &Shopper) -> Option<Self> {
        let cart = shopper.cart.as_ref()?;
        Some(Self::of(Kind::Cart, store, cart.as_str().as_bytes()))
    }

    /// The stored index's kind for reservations that ended like this: one list for each status, so that a page of one
    /// status reads no other.
    pub(in crate::storage) fn stored_kind(self, status: HoldStatus) -> Option<u8> {
        let status = match status {
            HoldStatus::Confirmed => 1,
            HoldStatus::Released => 2,
            HoldStatus::Expired => 3,
            HoldStatus::Tentative | HoldStatus::Active => return None,
        };
        Some((self.kind as u8) << 4 | status)
    }
}

/// The stored index's lists of a reservation that ended: kind and hash of each.
pub(in crate::storage) fn ended_lists(store: &StoreId, hold: &Hold) -> Vec<(u8, u64)> {
    let lists = [
        Some(Selector::store(store)),
        Some(Selector::variant(store, hold.id.variant())),
        Selector::customer_of(store, &hold.shopper),
        Selector::cart(store, &hold.shopper),
    ];
    let listed = lists.into_iter().flatten();
    listed
        .filter_map(|selector| Some((selector.stored_kind(hold.status)?, selector.hash)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CartId;

    #[test]
    fn hashes_are_frozen() {
        let store = StoreId::parse("default").unwrap();
        let shopper = Shopper {
            customer: Some(CustomerId::parse("same").unwrap()),
            session: None,
            cart: Some(CartId::parse("same").unwrap()),
        };
        let hashes = [
            Selector::store(&store),
            Selector::variant(&store, VariantOrdinal(7)),
            Selector::customer_of(&store, &shopper).unwrap(),
            Selector::cart(&store, &shopper).unwrap(),
        ];
        let hashes = hashes.map(|selector| format!("{:016x}", selector.hash));
        assert_eq!(
            hashes,
            [
                "b1415fe5cc2fe05e",
                "d19aedb7ab5ad83c",
                "08985e88f0e15e23",
                "4f17927c8bba4b1a"
            ]
        );
    }

    #[test]
    fn each_list_and_end_has_its_own_stored_kind() {
        let store = StoreId::parse("default").unwrap();
        let of = Selector::variant(&store, VariantOrdinal(1));
        assert_eq!(of.stored_kind(HoldStatus::Released), Some(0x22));
        assert_eq!(
            Selector::store(&store).stored_kind(HoldStatus::Expired),
            Some(0x13)
        );
        assert_eq!(of.stored_kind(HoldStatus::Active), None);
    }
}
