//! From the queue to the channel: the router decides once what becomes of an event, and one lane a
//! channel brings what gathered there, at the channel's pace.
//!
//! Way of an event: [`router`] (dedup, routes, ledger) commits deliveries; [`lane`] waits for its
//! pace, leases, renders ([`render`]) and posts through a [`Destination`]. The two meet in the queue.

#[cfg(test)]
mod attack_tests;
pub mod blocks;
pub mod board;
pub mod card;
pub mod change;
#[cfg(test)]
mod checker;
pub mod clusters;
pub mod command;
pub mod dedup;
pub mod destination;
pub mod details;
pub mod digest;
pub mod duplicates;
pub mod escape;
pub mod holds;
pub mod lane;
mod limiter;
pub mod message;
pub mod metrics;
pub mod mutes;
pub mod pace;
pub mod plain_webhook;
pub mod preview;
pub mod rates;
pub mod render;
pub mod replay;
pub mod retry;
mod route_index;
pub mod router;
pub mod routes;
pub mod sentence;
pub mod slack;
pub mod style;
pub mod template;
pub mod term;
pub mod watchdog;
pub mod workspace;

pub use board::Board;
pub use destination::{Destination, Receipt, SendError};
pub use duplicates::Duplicates;
pub use holds::{HoldBook, HoldKey, Holds};
pub use lane::Lane;
pub use message::Message;
pub use metrics::Metrics;
pub use replay::{Replay, Replayed};
pub use router::{Router, Table};
pub use routes::Routes;
pub use template::Templates;
pub use term::Term;
pub use workspace::Workspace;
