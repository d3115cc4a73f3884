//! What a client was answered, to be asked for again under the same keys.
use fastrand::Rng;

use crate::server::Server;
use crate::server::wire::Answer;

/// Earlier answers that are asked for again after each restart, beside all new ones.
const OLD_REPLAYS: usize = 40;

/// An answered request.
struct Answered {
    request: Vec<u8>,
    status: u16,
    body: Vec<u8>,
}

/// The answers of one client.
#[derive(Default)]
pub(super) struct Answers {
    all: Vec<Answered>,
    /// Those before this index were asked for again after an earlier restart.
    replayed: usize,
}

impl Answers {
    pub(super) fn note(&mut self, request: Vec<u8>, answer: &Answer) {
        self.all.push(Answered {
            request,
            status: answer.status,
            body: answer.body.clone(),
        });
    }

    /// How many there are since the last restart.
    pub(super) fn fresh(&self) -> usize {
        self.all.len() - self.replayed
    }

    /// Asks for earlier answers again: every one since the last restart, and some older ones.
    pub(super) fn replay(&mut self, server: &Server, rng: &mut Rng) -> usize {
        let older = std::iter::repeat_with(|| rng.usize(..self.replayed.max(1))).take(OLD_REPLAYS);
        let older = older.filter(|_| self.replayed > 0).collect::<Vec<_>>();
        let chosen = older.into_iter().chain(self.replayed..self.all.len());
        // A connection of its own: the server closes one that was idle while the lists were read.
        let mut connection = server.connect();
        let mut count = 0;
        for answered in chosen.map(|index| &self.all[index]) {
            let asked = String::from_utf8_lossy(&answered.request);
            let again = connection.exchange(&answered.request);
            let again = again.unwrap_or_else(|error| panic!("{asked}: {error}: {}", server.log()));
            let told = || format!("{asked}: {}\n{}", again.text(), server.log());
            assert_eq!(again.status, answered.status, "{}", told());
            assert_eq!(again.text(), String::from_utf8_lossy(&answered.body), "{asked}");
            assert_eq!(again.header("idempotent-replayed"), "true", "{asked}");
            count += 1;
        }
        self.replayed = self.all.len();
        count
    }
}
