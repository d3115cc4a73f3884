//! A gate between the journal's writer and its device: closed, no group becomes durable until it is opened; broken, the
//! device fails the way a real one does.
use holdfast::{
    app::{OnFatal, Shop},
    storage::{
        journal::{
            AppendError, Group, Journal, LogReader, LogTrimmer, PartitionId, Position, RecordNumber, Tail,
        },
        recovery::{JournalPlace, OpenJournal},
    },
};
use parking_lot::{Condvar, Mutex};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// The gate; open at first.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    way: Way,
    /// Groups that stand before it.
    waiting: usize,
    /// Groups that may pass although it is closed.
    passes: usize,
    /// What the process said at its end.
    fatal: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    Closed,
    /// Every group fails for good.
    Broken,
    /// Every group is certainly not written, so that the writer can be told to end.
    Lost,
}

impl Gate {
    fn turn(&self, way: Way) {
        self.state.lock().way = way;
        self.changed.notify_all();
    }

    /// Lets groups through.
    pub(crate) fn open(&self) {
        self.turn(Way::Open);
    }

    /// Holds groups up from now on.
    pub(crate) fn close(&self) {
        self.turn(Way::Closed);
    }

    /// Lets so many groups through a closed gate.
    pub(crate) fn let_pass(&self, groups: usize) {
        self.state.lock().passes = groups;
        self.changed.notify_all();
    }

    /// Fails the group that waits and every later one.
    pub(crate) fn break_down(&self) {
        self.turn(Way::Broken);
    }

    /// Whoever waits is never written.
    pub(super) fn lose(&self) {
        self.turn(Way::Lost);
    }

    /// Whether a group stands before it: the writer has taken it and nothing of it is durable.
    pub(crate) fn holds_a_group(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// What the hook that ends the process was told.
    pub(crate) fn fatal(&self) -> Vec<String> {
        self.state.lock().fatal.clone()
    }

    fn pass(&self) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        state.waiting += 1;
        while state.way == Way::Closed && state.passes == 0 {
            self.changed.wait(&mut state);
        }
        state.passes = state.passes.saturating_sub(1);
        state.waiting -= 1;
        let context = "the test says so".to_owned();
        match state.way {
            Way::Open | Way::Closed => Ok(()),
            Way::Broken => Err(AppendError::Fatal {
                context,
                source: None,
            }),
            Way::Lost => Err(AppendError::Unavailable {
                context,
                source: None,
            }),
        }
    }

    /// Logs that are opened by `open` and stand behind the gate.
    pub(super) fn before(gate: &Arc<Self>, open: OpenJournal) -> OpenJournal {
        let gate = Arc::clone(gate);
        Arc::new(move |place: JournalPlace<'_>| {
            let (inner, gate) = (open(place)?, Arc::clone(&gate));
            Ok(Box::new(Gated { inner, gate }))
        })
    }

    /// A hook that keeps what it is told if the gate was broken on purpose.
    pub(super) fn on_fatal(gate: &Arc<Self>) -> OnFatal {
        let gate = Arc::clone(gate);
        Arc::new(move |why| {
            let mut state = gate.state.lock();
            assert!(state.way == Way::Broken, "{why}");
            state.fatal.push(why.to_owned());
        })
    }
}

/// Sends a request in a task of its own.
pub(crate) fn send<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    shop: &Arc<Shop>,
    request: impl FnOnce(Arc<Shop>) -> F,
) -> JoinHandle<T> {
    tokio::spawn(request(Arc::clone(shop)))
}

/// Lets every task that can run do so, many times over. All of them are in this thread, and the writer stands at the gate.
pub(crate) async fn let_all_run() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

/// Waits until the writer stands before the closed gate with what was sent.
pub(crate) async fn until_held(gate: &Gate) {
    super::until(|| gate.holds_a_group()).await;
}

struct Gated {
    inner: Box<dyn Journal>,
    gate: Arc<Gate>,
}

impl Journal for Gated {
    fn acquire(&mut self, partition: PartitionId) -> Result<Tail, AppendError> {
        self.inner.acquire(partition)
    }

    fn append(
        &mut self,
        partition: PartitionId,
        expected: RecordNumber,
        group: &Group,
    ) -> Result<Position, AppendError> {
        self.gate.pass()?;
        self.inner.append(partition, expected, group)
    }

    fn last_sync(&self) -> Duration {
        self.inner.last_sync()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }

    fn trimmer(&self) -> Arc<dyn LogTrimmer> {
        self.inner.trimmer()
    }
}
