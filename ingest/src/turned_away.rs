//! Connections that are told one thing and closed.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long one of them lingers.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Says `answer` and closes. What the peer sends is read away meanwhile: closing over unread bytes would
/// reset the connection, and the peer's kernel would drop the answer.
pub(crate) async fn turn_away(mut stream: TcpStream, answer: &[u8]) {
    let telling = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 4096];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Either way it is over: nobody is left to tell.
    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, telling).await;
}
