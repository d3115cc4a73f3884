//! What the disk does to the next operations, as the story says.
use holdfast::storage::journal::simulated::{Operation, SimulatedDisk};
use parking_lot::Mutex;
use std::{io, sync::Arc};

/// How the process ends in the middle of an operation, or what becomes of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed before it: what was written stays.
    Kill,
    /// The power fails before it: what was not synced may be lost, or be there in part.
    PowerFailure,
    /// There is no space.
    NoSpace,
    /// The device fails.
    Failure,
}

/// The next fault.
#[derive(Default)]
pub(crate) struct Faults {
    planned: Mutex<Option<(Option<Operation>, u32, Fault)>>,
    /// The process has ended so, and its last operation has not returned.
    struck: Mutex<Option<Fault>>,
    /// Done while the device syncs.
    meanwhile: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Faults {
    /// Faults of this disk.
    pub(crate) fn of(disk: &SimulatedDisk) -> Arc<Self> {
        let faults = Arc::<Self>::default();
        let plan = Arc::clone(&faults);
        disk.set_plan(move |operation, _| plan.judge(operation));
        faults
    }

    /// Plans a fault for the operation behind so many others, of this kind if one is given.
    pub(crate) fn plan(&self, kind: Option<Operation>, behind: u32, fault: Fault) {
        *self.planned.lock() = Some((kind, behind, fault));
    }

    /// Has something happen while the device syncs.
    pub(crate) fn while_syncing(&self, act: impl FnMut() + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(act));
    }

    /// Nothing fails any more, and syncs take no time.
    pub(crate) fn clear(&self) {
        *self.planned.lock() = None;
        *self.meanwhile.lock() = None;
    }

    /// How the process has ended in the middle of an operation.
    pub(crate) fn take_struck(&self) -> Option<Fault> {
        self.struck.lock().take()
    }

    fn judge(&self, operation: Operation) -> io::Result<()> {
        if operation == Operation::Sync
            && let Some(act) = &mut *self.meanwhile.lock()
        {
            act();
        }
        let mut planned = self.planned.lock();
        let Some((kind, behind, fault)) = &mut *planned else {
            return Ok(());
        };
        if kind.is_some_and(|kind| kind != operation) {
            return Ok(());
        }
        if *behind > 0 {
            *behind -= 1;
            return Ok(());
        }
        let fault = *fault;
        *planned = None;
        match fault {
            // ENOSPC, EIO.
            Fault::NoSpace => Err(io::Error::from_raw_os_error(28)),
            Fault::Failure => Err(io::Error::from_raw_os_error(5)),
            Fault::Kill | Fault::PowerFailure => {
                *self.struck.lock() = Some(fault);
                Err(io::Error::other("the process has ended"))
            }
        }
    }
}
