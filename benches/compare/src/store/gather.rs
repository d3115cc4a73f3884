//! Batches made of the asks that wait: what a front needs that does not want to pay one transaction for each of its callers. Each
//! connection takes what waits, up to a bound, and does not wait for more.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::Store;
use crate::ask::{Ask, Held};
use crate::trouble::Trouble;

/// An ask and where its answer goes.
type Waiting = (Ask, oneshot::Sender<Result<Held, String>>);

/// The door to the batches.
#[derive(Debug, Clone)]
pub(crate) struct Gatherer {
    door: mpsc::UnboundedSender<Waiting>,
}

impl Gatherer {
    /// So many batches at once, of so many asks at most.
    pub(crate) fn start(store: &Arc<Store>, at_once: usize, batch_max: usize) -> Self {
        // As many wait as the front has connections.
        let (door, waiting) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..at_once {
            tokio::spawn(work(Arc::clone(store), Arc::clone(&waiting), batch_max));
        }
        Self { door }
    }

    /// One hold, in somebody's batch.
    pub(crate) async fn hold(&self, ask: Ask) -> Result<Held, Trouble> {
        let (answer, answered) = oneshot::channel();
        let gone = || Trouble::Unexpected("nobody makes batches any more".to_owned());
        self.door.send((ask, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(Trouble::Unexpected)
    }
}

async fn work(store: Arc<Store>, waiting: Arc<Mutex<mpsc::UnboundedReceiver<Waiting>>>, batch_max: usize) {
    let mut taken = Vec::new();
    loop {
        // Whoever holds the lock waits for the first ask; the others wait for the lock.
        if waiting.lock().await.recv_many(&mut taken, batch_max).await == 0 {
            return;
        }
        let (asks, answers): (Vec<Ask>, Vec<_>) = taken.drain(..).unzip();
        match store.hold_many(&asks).await {
            Ok(held) if held.len() == answers.len() => {
                for (held, answer) in held.into_iter().zip(answers) {
                    // A caller that has gone does not want to know.
                    answer.send(Ok(held)).ok();
                }
            }
            other => {
                let why = match other {
                    Ok(held) => format!("{} answers to {} asks", held.len(), answers.len()),
                    Err(trouble) => trouble.to_string(),
                };
                for answer in answers {
                    answer.send(Err(why.clone())).ok();
                }
            }
        }
    }
}
