//! The supervisor of all actors: it outlives its children and tells the directory when one has ended.
use super::directory::Directory;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::sync::Weak;

/// ractor's default ends the parent with the child; this one has the child's state read again.
pub(super) struct Supervisor;

impl Supervisor {
    pub(super) async fn start(directory: Weak<Directory>) -> ActorCell {
        let (actor, _) = Actor::spawn(None, Self, directory)
            .await
            .expect("it has no name to clash and nothing to fail in");
        actor.get_cell()
    }
}

impl Actor for Supervisor {
    type Msg = ();
    type State = Weak<Directory>;
    type Arguments = Weak<Directory>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        directory: Weak<Directory>,
    ) -> Result<Weak<Directory>, ActorProcessingErr> {
        Ok(directory)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        directory: &mut Weak<Directory>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(directory) = directory.upgrade() else {
            return Ok(());
        };
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                directory.ended(actor.get_id(), Some(error.to_string()))
            }
            SupervisionEvent::ActorTerminated(actor, ..) => directory.ended(actor.get_id(), None),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
