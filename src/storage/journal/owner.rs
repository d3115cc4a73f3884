//! What every back end's owner does around its own writing: it knows the end of the log, guards it, and moves it.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Anchor, AppendError, BoxedError, Epoch, Group, PartitionId, Position, RecordNumber, Tail, TornTail,
    check_fence,
};

/// The durable end of a log, as its owner moves it and others read it.
pub(super) struct DurableEnd {
    partition: PartitionId,
    last: AtomicU64,
}

impl DurableEnd {
    pub(super) fn new(partition: PartitionId, last: RecordNumber) -> Self {
        Self {
            partition,
            last: AtomicU64::new(last.0),
        }
    }

    /// The last durable record.
    pub(super) fn last(&self) -> RecordNumber {
        RecordNumber(self.last.load(Ordering::Acquire))
    }

    /// Whether a record of a partition is durable here.
    pub(super) fn has(&self, partition: PartitionId, number: RecordNumber) -> bool {
        partition == self.partition && number <= self.last()
    }

    /// Refuses a partition that is not in this log.
    pub(super) fn check_partition(&self, partition: PartitionId) -> Result<(), AppendError> {
        if partition == self.partition {
            return Ok(());
        }
        Err(AppendError::fenced(format!(
            "this log holds partition {}, not {}",
            self.partition.0, partition.0
        )))
    }
}

/// The owner's idea of the tail.
pub(super) struct TailKeeper {
    end: Arc<DurableEnd>,
    epoch: Epoch,
    tail: Anchor,
    cut: Option<TornTail>,
    failed: bool,
}

impl TailKeeper {
    pub(super) fn new(end: Arc<DurableEnd>, epoch: Epoch, tail: Anchor, cut: Option<TornTail>) -> Self {
        Self {
            end,
            epoch,
            tail,
            cut,
            failed: false,
        }
    }

    /// The point behind which the next group goes.
    pub(super) fn tail(&self) -> Anchor {
        self.tail
    }

    /// As [`super::Journal::acquire`].
    pub(super) fn acquire(&self, partition: PartitionId) -> Result<Tail, AppendError> {
        self.end.check_partition(partition)?;
        let Anchor {
            last,
            chain,
            logged_at_ms,
        } = self.tail;
        Ok(Tail {
            epoch: self.epoch,
            last,
            chain,
            logged_at_ms,
            cut: self.cut.clone(),
        })
    }

    /// What stands before every write: the group goes exactly here, and no write before it has failed.
    pub(super) fn guard(
        &self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<(), AppendError> {
        self.end.check_partition(partition)?;
        if self.failed {
            return Err(AppendError::Fatal {
                context: "an earlier append failed".into(),
                source: None,
            });
        }
        check_fence(partition, self.epoch, &self.tail, expected, group)
    }

    /// What comes after every write: the tail moves, or this log takes nothing more.
    pub(super) fn wrote(
        &mut self,
        group: &Group,
        written: Result<(), BoxedError>,
        to: &Path,
    ) -> Result<Position, AppendError> {
        if let Err(error) = written {
            // Nobody knows what the device kept. Only a restart, which reads it, can say.
            self.failed = true;
            return Err(AppendError::fatal(
                format!("cannot append to {}", to.display()),
                error,
            ));
        }
        self.tail = Anchor::after(group);
        self.end.last.store(self.tail.last.0, Ordering::Release);
        Ok(Position {
            epoch: self.epoch,
            number: self.tail.last,
        })
    }
}
