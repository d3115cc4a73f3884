//! tmp
#[derive(Clone)]
pub struct Checkpointer;
impl Checkpointer {
    pub fn run_now(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
}
