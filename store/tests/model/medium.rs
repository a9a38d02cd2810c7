//! Where the queue of a case is, and what a crash is there.

use auditrelay_store::{Engine, Queue, SledOptions, StreamOptions};

use crate::{
    run::Run,
    support::{batch, on_jetstream::Server},
};

/// Where the queue of a case is.
pub enum Medium<'a> {
    Disk,
    /// On a server, with this name.
    Stream(&'a Server, String),
}

impl Medium<'_> {
    pub fn open(&self, options: &SledOptions) -> Engine {
        match self {
            Self::Disk => Engine::open(options).expect("opens").queue,
            Self::Stream(server, name) => {
                let options = StreamOptions {
                    limits: options.limits.clone(),
                    segment_bytes: options.segment_bytes,
                    snapshot_bytes: options.segment_bytes,
                    ..StreamOptions::new(options.now_unix_ms)
                };
                server.open(name, options)
            }
        }
    }
}

impl Run<'_> {
    /// Another relay opens the queue while this one has it: what this one does from then on fails and changes nothing.
    pub async fn take_over(&mut self) {
        let before = self.queue.take().expect("it is open");
        self.open();
        let late = batch(["1 too late".to_owned()]);
        before.append(late).await.expect_err("another one writes");
    }
}
