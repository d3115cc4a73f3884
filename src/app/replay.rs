//! What the log and the stored rows still know: the record behind a key, reservations that have ended, and the ledger.
use super::{AppError, Shop};
use crate::{
    actor::Logged,
    domain::{
        ids::{ReservationId, VariantOrdinal},
        variant::{Hold, LedgerEntry},
    },
    storage::{
        dto,
        entity_rows::ledger_rows,
        journal::{LogReader, PartitionId, ReadError, RecordNumber},
        keys::KeyHash,
        projection::Projection,
        record::{Fact, Turn},
        state::StateStore,
    },
    workers::{Workers, aside},
};
use std::sync::Arc;

impl Shop {
    /// The record with this number: from the log, or from the key's row once the log was trimmed; `None` when both have
    /// gone with the key's retention.
    pub(super) async fn logged(&self, number: u64, key: KeyHash) -> Result<Option<Logged>, AppError> {
        let (reader, state) = (self.reader.clone(), self.state.clone());
        let read = move || -> Result<Option<Turn>, AppError> {
            match reader.record(PartitionId(0), RecordNumber(number)) {
                Ok(Some(record)) => return turn(&record.payload).map(Some),
                Ok(None) | Err(ReadError::Trimmed { .. }) => {}
                Err(error) => return Err(AppError::internal("a record could not be read", &error)),
            }
            let row = state.key_payload(&key);
            let payload = row.map_err(|error| AppError::internal("a key's row could not be read", &error))?;
            payload.map(|payload| turn(&payload)).transpose()
        };
        let turn = blocking(&*self.workers, read).await?;
        Ok(turn.map(|turn| Logged { number, turn }))
    }

    /// A reservation that has left its variant, if it is still remembered.
    pub(super) async fn ended(&self, id: ReservationId) -> Result<Option<Hold>, AppError> {
        let remembered = Remembered {
            projection: Arc::clone(&self.projection),
            reader: Arc::clone(&self.reader),
            state: Arc::clone(&self.state),
        };
        blocking(&*self.workers, move || remembered.ended(id)).await
    }

    /// The durable lines of a variant's ledger above line `after`, at most `limit`: the rows, then what is newer, from the
    /// log. What is newer is asked for first, so that a checkpoint in between moves lines into the rows before they are
    /// read; lines whose records are trimmed meanwhile are rows by then, and are read once more.
    pub(super) async fn ledger_lines(
        &self,
        ordinal: VariantOrdinal,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, AppError> {
        let (projection, reader, state) = (
            Arc::clone(&self.projection),
            self.reader.clone(),
            self.state.clone(),
        );
        blocking(&*self.workers, move || {
            let mut lines: Vec<LedgerEntry> = Vec::new();
            loop {
                let reached = lines.last().map_or(after, |line| line.seq);
                let newer = projection.ledger(ordinal, reached, limit - lines.len());
                let rows = ledger_rows(&state, ordinal, reached, limit - lines.len());
                lines.extend(
                    rows.map_err(|error| AppError::internal("the ledger could not be read", &error))?,
                );
                let reached = lines.last().map_or(after, |line| line.seq);
                let newer = newer.into_iter().filter(|(line, _)| *line > reached);
                let mut trimmed = false;
                for (line, number) in newer.take(limit - lines.len()) {
                    match reader.record(PartitionId(0), RecordNumber(number)) {
                        Ok(Some(record)) => lines.push(line_in(&turn(&record.payload)?, line)?),
                        Ok(None) | Err(ReadError::Trimmed { .. }) => {
                            trimmed = true;
                            break;
                        }
                        Err(error) => return Err(AppError::internal("a record could not be read", &error)),
                    }
                }
                if !trimmed {
                    return Ok(lines);
                }
            }
        })
        .await
    }
}

/// Where reservations that have left their variants are found.
pub(super) struct Remembered {
    pub(super) projection: Arc<Projection>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) state: Arc<StateStore>,
}

impl Remembered {
    /// One of them, if it is still remembered. Blocks on the disk.
    pub(super) fn ended(&self, id: ReservationId) -> Result<Option<Hold>, AppError> {
        ended_hold(self.projection.ended(id), &*self.reader, &self.state, id)
    }
}

/// A reservation that has left its variant: from the record it ended with, where that is above the last checkpoint, or from
/// its row.
pub(super) fn ended_hold(
    recent: Option<u64>,
    reader: &dyn LogReader,
    state: &StateStore,
    id: ReservationId,
) -> Result<Option<Hold>, AppError> {
    if let Some(number) = recent {
        match reader.record(PartitionId(0), RecordNumber(number)) {
            Ok(Some(record)) => return Ok(hold_in(&turn(&record.payload)?, id)),
            Ok(None) | Err(ReadError::Trimmed { .. }) => {}
            Err(error) => return Err(AppError::internal("a record could not be read", &error)),
        }
    }
    let row = state.ended(&id.as_u128().to_be_bytes());
    let row = row.map_err(|error| AppError::internal("a reservation's row could not be read", &error))?;
    let hold = row.map(|(_, row)| dto::decode_hold(&row)).transpose();
    hold.map_err(|error| AppError::internal("a reservation's row is damaged", &error))
}

fn line_in(turn: &Turn, line: u64) -> Result<LedgerEntry, AppError> {
    let Fact::Variant(fact) = &turn.fact else {
        return Err(AppError::bug("a line of the ledger is in no variant's record"));
    };
    let mut lines = fact.events.iter().filter_map(|event| event.ledger_entry());
    let found = lines.find(|entry| entry.seq == line).cloned();
    found.ok_or_else(|| AppError::bug("a record has lost its line of the ledger"))
}

fn turn(payload: &[u8]) -> Result<Turn, AppError> {
    dto::decode_turn(payload).map_err(|error| AppError::internal("a record is damaged", &error))
}

fn hold_in(turn: &Turn, id: ReservationId) -> Option<Hold> {
    let Fact::Variant(fact) = &turn.fact else {
        return None;
    };
    let holds = fact.events.iter().rev().filter_map(|event| event.hold());
    holds.into_iter().find(|hold| hold.id == id).cloned()
}

/// Runs disk work where it cannot hold up other requests.
pub(super) async fn blocking<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
) -> Result<T, AppError> {
    let done = aside(workers, work).await;
    done.unwrap_or_else(|broke_off| Err(AppError::internal("reading from the disk", &broke_off)))
}
