//! The way of each relay to Slack: it tells whose post arrived when.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

const POST: &[u8] = b"POST /api/chat.postMessage";

/// Which relay posted, in the order in which it came to Slack.
#[derive(Clone, Default)]
pub struct Posts(Arc<Mutex<Vec<usize>>>);

impl Posts {
    pub fn of(&self, relay: usize) -> usize {
        let posts = self.0.lock().expect("no panic");
        posts.iter().filter(|one| **one == relay).count()
    }

    fn note(&self, relay: usize) {
        self.0.lock().expect("no panic").push(relay);
    }

    /// How often another relay posted than the one before.
    pub fn changes(&self) -> usize {
        let posts = self.0.lock().expect("no panic");
        posts.windows(2).filter(|two| two[0] != two[1]).count()
    }
}

/// A way of its own for a relay.
pub async fn wire(relay: usize, slack: SocketAddr, posts: Posts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let posts = posts.clone();
            // It ends with either side.
            tokio::spawn(async move { drop(carry(relay, stream, slack, posts).await) });
        }
    });
    address
}

async fn carry(relay: usize, from: TcpStream, slack: SocketAddr, posts: Posts) -> io::Result<()> {
    let to = TcpStream::connect(slack).await?;
    let (mut asked, mut answered) = from.into_split();
    let (mut answers, mut asks) = to.into_split();
    let asking = async move {
        let mut some = vec![0; 1 << 16];
        loop {
            let read = asked.read(&mut some).await?;
            if read == 0 {
                return asks.shutdown().await;
            }
            // A request begins where a write of the relay does: it waits for each answer.
            if some[..read].starts_with(POST) {
                posts.note(relay);
            }
            asks.write_all(&some[..read]).await?;
        }
    };
    let answering = async move {
        copy(&mut answers, &mut answered).await?;
        answered.shutdown().await
    };
    tokio::try_join!(asking, answering)?;
    Ok(())
}
