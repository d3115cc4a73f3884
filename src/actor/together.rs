//! Several variants' turns as one: the lines of a list that is taken over all or not at all (decisions 25).
//!
//! ```text
//!          Draft                                 ┌── Resolve(number) ─► the turn is applied ──┐
//!  free ──────────► judged, told what its turn ──┤                                            ├─► free; what came
//!    ▲       │      would say; it waits          └── Resolve(none) ───► nothing happened ─────┘   meanwhile, in order
//!    └───────┘ refused: it does not wait
//! ```
//! Every variant judges its line as it stands and waits. If all agree, their turns go to the journal as one group,
//! which a log has whole or not at all, with the record that remembers what is answered. If one refuses, does not answer
//! in time or has died, nobody's turn is logged. Whatever ends this early, [`Together`] tells everybody who was asked
//! that nothing was done when it is dropped, so nobody waits for ever.
//!
//! What a waiting variant does: nothing. Commands, looks and deadlines are put aside, bounded by the permits of those who
//! wait, and are judged in their order afterwards, by their own deadlines and the clock: units that the line takes away
//! cannot be sold meanwhile, those it brings in neither. What is due when the line is judged is given back first, in a
//! record of its own: that happened whatever becomes of the list.
//!
//! What readers see: a variant shows the change as soon as its turn is handed on, and says so once the group is durable. By
//! then every variant of the list has been told, so whoever has seen one line done finds all of them done.
//!
//! Why not promises in the log, as a bulk has them: a promised level would be one more state of every variant, for
//! shoppers, shipments and returns that move the level meanwhile, for a variant that is not there yet, for rows, snapshots
//! and rewinds; lines would be settled one by one before everybody's eyes. Here the log has whole lists only, in records
//! like any others, and a crash leaves nothing to bring to an end. The price: shoppers of a variant in the list wait while at
//! most 200 variants are asked, which no disk is part of, and all of the list lies in one partition.
//!
//! A restore to a moment takes a list as a whole or not at all, for a group has one moment. One to a record's number cuts where
//! it is told to, also between two lines: each line's record has a key of its own, by which a repeat of the list finds what is
//! done and asks for the rest.
//!
//! One list at a time, which is the caller's business: two of them could each wait for what the other has.
use super::{
    admission::Permit,
    directory::{Directory, Unroutable},
    entry::Entry,
    message::{Draft, Drafting, Judged, KeyClaim, ListId, Message, Port},
};
use crate::{
    domain::{
        bulk::{self, LINES_MAX},
        time::Timestamp,
        variant::Import,
    },
    storage::{journal::RejectReason, keys::Claim, record::Turn},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A list under way: from its first line on until everybody knows what became of it.
pub struct Together {
    directory: Arc<Directory>,
    list: ListId,
    /// The slots of everything that it may log.
    permit: Option<Permit>,
    /// Who may be waiting.
    asked: Vec<Arc<Entry>>,
}

/// The journal entries that a list of so many lines leads to at most: what is due at each variant, its turn, and the record
/// that closes it.
const fn records_max(lines: usize) -> usize {
    2 * lines + 1
}

const _: () = assert!(
    records_max(LINES_MAX) <= bulk::records_max(LINES_MAX),
    "the reserved pool has room for it, as for the largest bulk"
);

/// A line that its variant agreed to.
pub struct Agreed {
    /// Where the variant lives.
    pub entry: Arc<Entry>,
    /// What it said.
    pub draft: Draft,
    /// The claim of the line's own key.
    pub key: Option<KeyClaim>,
}

/// The record that closes a list's group: what its caller is told.
pub struct Closing {
    /// What it says.
    pub turn: Turn,
    /// The claim of its idempotency key.
    pub claim: Option<Claim>,
    /// Who waits for it.
    pub port: Port,
}

/// Why nothing was done of a list that everybody agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTogether {
    /// A variant's actor has died since it agreed.
    #[error("a variant's actor was lost")]
    Lost,
    /// The journal took nothing.
    #[error(transparent)]
    Rejected(#[from] RejectReason),
}

impl Together {
    /// A list of at most so many lines of which nobody has heard yet, once there are the slots for it.
    pub async fn begin(directory: &Arc<Directory>, lines: usize) -> Self {
        Self {
            directory: Arc::clone(directory),
            list: ListId(directory.next_generation()),
            permit: Some(directory.reserve_slots_when_free(records_max(lines)).await),
            asked: Vec::new(),
        }
    }

    /// Asks a variant to judge its line by `deadline` and to wait.
    ///
    /// # Errors
    /// The variant cannot be asked.
    ///
    /// # Panics
    /// When more lines are asked than it was begun for.
    pub fn ask(
        &mut self,
        entry: &Arc<Entry>,
        import: Import,
        deadline: Timestamp,
    ) -> Result<oneshot::Receiver<Judged>, Unroutable> {
        let (port, answer) = oneshot::channel();
        let permit = self.permit.as_mut().and_then(Permit::split);
        let drafting = Drafting {
            list: self.list,
            import,
            permit: permit.expect("a slot for what is due at each variant"),
            deadline,
            port,
        };
        self.directory.route(entry, Message::Draft(Box::new(drafting)))?;
        self.asked.push(Arc::clone(entry));
        Ok(answer)
    }

    /// Logs what everybody agreed to.
    ///
    /// # Errors
    /// Nothing was done.
    pub fn carry_out(mut self, lines: Vec<Agreed>, closing: Closing) -> Result<(), NotTogether> {
        let permit = self.permit.take();
        self.directory
            .append_together(self.list, lines, closing, permit)?;
        self.asked.clear();
        Ok(())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        for entry in &self.asked {
            self.directory.let_go(entry, self.list);
        }
    }
}
