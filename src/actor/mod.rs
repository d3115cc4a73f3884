//! The ractor shells and what routes to them.
//!
//! ```text
//!  app ── Message ──► directory ──► variant actor ── decide, apply ──► journal queue ──► durable ──► answers
//!                        ▲   ▲            │  answers to coordinators are data, addressed by id
//!            sleepers ───┘   └── bulk coordinator ◄──┘
//! ```
//! A shell receives, stamps the time, calls the domain and hands the record on; it never waits for the disk or, inside
//! a handler, for another actor. A variant whose line of a list is judged puts what comes aside until the whole list is
//! ([`Together`]). Actors are virtual: they start on first use and go back to encoded bytes when idle. What may fail:
//! a panic in a handler loses the actor, the supervisor has it rebuilt from rows and log; a broken law quarantines that
//! one variant.
mod admission;
mod agent;
mod bulk;
mod directory;
mod durable;
mod entry;
mod load;
mod message;
mod seat;
mod sleepers;
mod supervisor;
mod timer;
mod together;
mod variant;

pub use admission::{Admission, AdmissionLimits, Permit, Shed};
pub use agent::{AgentAddress, AgentId, AgentJob};
pub use bulk::StillSettling;
pub use directory::{ActorLimits, Directory, Rebuild, Services, Unroutable};
pub use durable::{Durable, Pending};
pub use entry::Entry;
pub use message::{
    Answer, BulkAddress, Draft, Drafting, Job, Judged, KeyClaim, ListId, Logged, Message, NotDone, Outcome,
    Port, Viewing, What,
};
pub use together::{Agreed, Closing, NotTogether, Together};
