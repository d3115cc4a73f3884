//! A snapshot as operators see it.
use crate::domain::time::Timestamp;
use crate::http::time::Moment;
use crate::storage::snapshot::{EntityKind, Shelved};
use serde::Serialize;
use utoipa::ToSchema;

/// A portable snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Snapshot)]
pub struct SnapshotView {
    /// Which.
    pub id: String,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// The epoch of its log.
    pub epoch: u64,
    /// The position whose state it is.
    pub position: String,
    /// The size of its file.
    pub bytes: u64,
    /// What there is at its position.
    pub counts: SnapshotCountsView,
    /// The digest of its content.
    pub digest: String,
    /// Whether it was read back, replayed and found lawful when it was taken.
    pub verified: bool,
    /// Its file on the server.
    pub file: String,
}

/// What there is in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SnapshotCounts)]
pub struct SnapshotCountsView {
    /// Variants.
    pub variants: u64,
    /// Reservations that variants keep.
    pub reservations: u64,
    /// Carts.
    pub carts: u64,
    /// Orders.
    pub orders: u64,
}

impl From<&Shelved> for SnapshotView {
    fn from(shelved: &Shelved) -> Self {
        let manifest = &shelved.manifest;
        let of = |kind| manifest.counts.of(kind);
        let counts = match &manifest.state {
            Some(state) => SnapshotCountsView {
                variants: state.variants,
                reservations: state.reservations,
                carts: state.carts,
                orders: state.orders,
            },
            None => SnapshotCountsView {
                variants: of(EntityKind::VARIANT),
                reservations: of(EntityKind::HOLD),
                carts: of(EntityKind::CART),
                orders: of(EntityKind::ORDER),
            },
        };
        Self {
            id: shelved.id.clone(),
            created_at: Moment(Timestamp::from_millis(manifest.created_at_ms)),
            epoch: manifest.epoch,
            position: format!("{}-{}", manifest.epoch, manifest.position),
            bytes: shelved.bytes,
            counts,
            digest: manifest.digest.clone(),
            verified: manifest.state.is_some(),
            file: shelved.path.display().to_string(),
        }
    }
}
