//! Tools that stand at the far end of auditrelay's wires, for its tests, its
//! load measurements and for trying it out without a Slack workspace.
//!
//! Contract: nothing here imports another auditrelay crate. Whatever these tools
//! learn about auditrelay they learn over HTTP, as the world does, so they cannot
//! share a mistake with the code they judge.

pub mod apiserver;
pub mod events;
pub mod limits;
pub mod log;
pub mod nats;
pub mod process;
pub mod replicas;
pub mod slack;
pub mod storm;
