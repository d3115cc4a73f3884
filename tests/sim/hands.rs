//! The workers of a house, stepped by hand: nothing is written, kept or read before the story says so.
use holdfast::workers::{Patience, Started, Stepped, Worker, Workers};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Reads from the disk that wait to be done.
type Job = Box<dyn FnOnce() + Send>;

/// Who steps. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    workers: Vec<(&'static str, Option<Box<dyn Worker>>)>,
    jobs: VecDeque<Job>,
}

impl Hands {
    /// Lets a worker take a step, if it is there and has not ended.
    pub(crate) fn step(&self, name: &str) -> Option<Stepped> {
        let place = {
            let held = self.0.lock();
            held.workers
                .iter()
                .position(|(called, worker)| *called == name && worker.is_some())?
        };
        self.step_at(place)
    }

    fn step_at(&self, place: usize) -> Option<Stepped> {
        // Not under the lock: its step may ask for reads.
        let mut worker = self.0.lock().workers[place].1.take()?;
        let stepped = worker.step(Patience::Looks);
        if stepped != Stepped::Ended {
            self.0.lock().workers[place].1 = Some(worker);
        }
        Some(stepped)
    }

    /// How many reads wait.
    pub(crate) fn jobs(&self) -> usize {
        self.0.lock().jobs.len()
    }

    /// Does one of the reads that wait.
    pub(crate) fn read(&self, which: usize) {
        let job = self.0.lock().jobs.remove(which);
        if let Some(job) = job {
            // As on a thread of its own: whoever waits learns that the work broke off.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// The process is gone, and its threads with it.
    pub(crate) fn drop_all(&self) {
        let held = std::mem::take(&mut *self.0.lock());
        drop(held);
    }
}

impl Workers for Hands {
    fn start(&self, name: &'static str, worker: Box<dyn Worker>) -> io::Result<Box<dyn Started>> {
        let mut held = self.0.lock();
        held.workers.push((name, Some(worker)));
        let place = held.workers.len() - 1;
        Ok(Box::new(Hand(self.clone(), place)))
    }

    fn aside(&self, work: Job) {
        self.0.lock().jobs.push_back(work);
    }
}

/// A worker that somebody may wait for.
struct Hand(Hands, usize);

impl Started for Hand {
    fn join(self: Box<Self>) {
        let Self(hands, place) = *self;
        // Whoever joins has asked it to end: it does not idle.
        while let Some(Stepped::Went | Stepped::Idle) = hands.step_at(place) {}
    }
}
