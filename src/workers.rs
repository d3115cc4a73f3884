//! Who does what must not hold up a task: loops that wait for the disk on a thread of their own, and reads from it.
//!
//! A loop is a [`Worker`]: it goes one step at a time and never looks who calls. [`Threads`] gives each worker a thread that
//! waits for work; a simulation steps them itself, in an order that it draws, and so decides what happens between two steps.
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};
use tokio::sync::oneshot;

/// Whether a step may wait for something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until there is something to do.
    Waits,
    /// Not at all.
    Looks,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It did something.
    Went,
    /// There was nothing to do. Never with [`Patience::Waits`].
    Idle,
    /// It is over; the worker takes no more steps.
    Ended,
}

/// A loop, one turn at a time.
pub trait Worker: Send {
    /// Does the next bounded piece of work. Panics end in the worker.
    fn step(&mut self, patience: Patience) -> Stepped;
}

/// A worker that was started.
pub trait Started: Send {
    /// Returns once the worker has ended, for which somebody has to have asked it.
    fn join(self: Box<Self>);
}

/// Whoever steps the workers of a house, and does its reads.
pub trait Workers: Send + Sync {
    /// Steps `worker` until it has ended.
    ///
    /// # Errors
    /// When the system gives no thread.
    fn start(&self, name: &'static str, worker: Box<dyn Worker>) -> io::Result<Box<dyn Started>>;

    /// Does work that blocks on the disk, soon.
    fn aside(&self, work: Box<dyn FnOnce() + Send>);
}

/// Work that broke off: it panicked, or nobody does work any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work broke off")]
pub struct BrokeOff;

/// Has work done aside and waits for what it returns. Whoever stops waiting does not stop the work.
///
/// # Errors
/// The work panicked.
pub async fn aside<T: Send + 'static>(
    workers: &dyn Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BrokeOff> {
    let (done, result) = oneshot::channel();
    workers.aside(Box::new(move || {
        // Whoever waited may have given up.
        let _ = done.send(work());
    }));
    result.await.map_err(|_| BrokeOff)
}

/// A thread for each worker, and those of the runtime for reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

/// The machine's own threads.
pub fn threads() -> Arc<dyn Workers> {
    Arc::new(Threads)
}

impl Workers for Threads {
    fn start(&self, name: &'static str, mut worker: Box<dyn Worker>) -> io::Result<Box<dyn Started>> {
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || while worker.step(Patience::Waits) != Stepped::Ended {})?;
        Ok(Box::new(Thread(thread)))
    }

    fn aside(&self, work: Box<dyn FnOnce() + Send>) {
        // Its result travels by itself; a panic drops whatever waits for it.
        drop(tokio::task::spawn_blocking(work));
    }
}

struct Thread(JoinHandle<()>);

impl Started for Thread {
    fn join(self: Box<Self>) {
        self.0
            .join()
            .expect("panics end in the worker; only one of what it calls at its end arrives here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_aside_returns_what_it_made_or_that_it_broke_off() {
        assert_eq!(aside(&Threads, || 7).await, Ok(7));
        let broke = aside(&Threads, || -> u8 {
            std::panic::resume_unwind(Box::new("planned"))
        });
        assert_eq!(broke.await, Err(BrokeOff));
    }
}
