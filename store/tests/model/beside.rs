//! What a lane asks for beside its leases: copies for a fallback, and threads of details.

use auditrelay_store::{FellBack, Queue, Thread};

use crate::{operation::CHANNELS, reference::To, run::Run};

impl Run<'_> {
    /// Where quotas drop what waits, the model does not know what there is to copy.
    pub async fn fall_back(&mut self, from: &str, to: &str) {
        if self.drops {
            return;
        }
        let events = self.model.fall_back(from, to);
        let expected = FellBack {
            events,
            ..FellBack::default()
        };
        let fell_back = self.queue().fall_back(from, to).await.expect("copied");
        assert_eq!(fell_back, expected);
        let again = self.queue().fall_back(from, to).await.expect("copied");
        assert_eq!(again, FellBack::default());
    }

    pub async fn ack_with_thread(&mut self, name: &str) {
        let Some(lease) = self.held(name) else { return };
        let thread = format!("t{}", lease.id);
        self.settle(name, To::Delivered, Some(thread.clone())).await;
        let threads = &mut self.model.channel(name).threads;
        threads.insert(lease.id, (thread, 0));
    }

    pub async fn note_thread(&mut self, name: &str, number: usize, done: Option<u32>) {
        let channel = self.model.channels.get_mut(name);
        let mut noted = channel.map(|channel| &mut channel.threads);
        let message = noted
            .as_ref()
            .and_then(|noted| noted.keys().nth(number).copied());
        if let (Some(noted), Some(message)) = (&mut noted, message) {
            match done {
                Some(parts) => noted.get_mut(&message).expect("it is noted").1 = parts,
                None => drop(noted.remove(&message)),
            }
        }
        let asked = message.unwrap_or(u64::MAX);
        let was_noted = self.queue().note_thread(name, asked, done).await;
        assert_eq!(was_noted.expect("noted"), message.is_some());
    }

    pub async fn compare_threads(&self) {
        for name in CHANNELS {
            let noted = self.queue().threads(name).await.expect("read");
            let channel = self.model.channels.get(name);
            let expected = channel.into_iter().flat_map(|channel| &channel.threads);
            let thread = |(message, (thread, done)): (&u64, &(String, u32))| Thread {
                message: *message,
                thread: thread.clone(),
                done: *done,
            };
            assert_eq!(noted, expected.map(thread).collect::<Vec<_>>());
        }
    }
}
