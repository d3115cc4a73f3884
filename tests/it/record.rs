//! The stored formats: what goes in comes out, and no bytes do harm.
use crate::strategies;
use holdfast::storage::dto::{self, FormatError};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_turn_reads_back_as_it_was(turn in strategies::turn()) {
        prop_assert_eq!(dto::decode_turn(&dto::encode_turn(&turn)), Ok(turn));
    }

    #[test]
    fn a_variant_reads_back_as_it_was(variant in strategies::variant()) {
        prop_assert_eq!(dto::decode_variant(&dto::encode_variant(&variant)), Ok(variant));
    }

    #[test]
    fn rows_read_back_as_they_were(
        head in strategies::head(),
        hold in strategies::hold(),
        (owner, bought) in strategies::purchases(),
        policy in strategies::policy(),
        bulk in strategies::bulk(),
        entry in strategies::entry(),
    ) {
        let row = dto::encode_purchases(&owner, &bought);
        prop_assert_eq!(dto::decode_purchases(&row), Ok((owner, bought)));
        prop_assert_eq!(dto::decode_head(&dto::encode_head(&head)), Ok(head));
        prop_assert_eq!(dto::decode_hold(&dto::encode_hold(&hold)), Ok(hold));
        prop_assert_eq!(dto::decode_policy(&dto::encode_policy(&policy)), Ok(policy));
        prop_assert_eq!(dto::decode_bulk(&dto::encode_bulk(&bulk)), Ok(bulk));
        prop_assert_eq!(dto::decode_ledger_entry(&dto::encode_ledger_entry(&entry)), Ok(entry));
    }

    #[test]
    fn any_bytes_are_taken_without_harm(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&body);
        read_as_everything(&[&[dto::FORMAT_VERSION], &body[..]].concat());
    }

    #[test]
    fn damaged_bytes_are_taken_without_harm(
        turn in strategies::turn(),
        variant in strategies::variant(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut bytes in [dto::encode_turn(&turn), dto::encode_variant(&variant)] {
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read_as_everything(&bytes);
            read_as_everything(&bytes[..cut.index(bytes.len())]);
        }
    }

    #[test]
    fn a_cut_or_longer_value_is_refused(turn in strategies::turn(), cut in any::<prop::sample::Index>()) {
        let mut bytes = dto::encode_turn(&turn);
        prop_assert!(dto::decode_turn(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert_eq!(dto::decode_turn(&bytes), Err(FormatError::TrailingBytes { extra: 1 }));
    }

    #[test]
    fn an_unknown_version_is_refused_by_its_number(turn in strategies::turn(), found in any::<u8>()) {
        prop_assume!(found != dto::FORMAT_VERSION);
        let mut bytes = dto::encode_turn(&turn);
        bytes[0] = found;
        prop_assert_eq!(dto::decode_turn(&bytes), Err(FormatError::UnknownVersion { found }));
    }
}

/// What is read must also be fit for use: whatever the domain reckons with it stays in range.
fn read_as_everything(bytes: &[u8]) {
    if let Ok(turn) = dto::decode_turn(bytes) {
        assert_eq!(dto::decode_turn(&dto::encode_turn(&turn)), Ok(turn));
    }
    if let Ok(variant) = dto::decode_variant(bytes) {
        let now = variant.head().decided_at;
        let _ = (variant.recount(), variant.view(now), variant.oversold());
        let expired = variant.expire_due(now, 8);
        let mut later = variant;
        expired.iter().for_each(|event| later.apply(event, now));
    }
    if let Ok(hold) = dto::decode_hold(bytes) {
        let _ = (hold.committed_units(), hold.closes_at());
    }
    let _ = dto::decode_head(bytes);
    let _ = dto::decode_purchases(bytes);
    let _ = dto::decode_policy(bytes);
    let _ = dto::decode_bulk(bytes);
    let _ = dto::decode_ledger_entry(bytes);
}
