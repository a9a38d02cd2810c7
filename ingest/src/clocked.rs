//! A stream that tells its connection's clock when bytes come, and whether those that go are taken.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;

/// What is read from `stream` is seen by `clock`; if it is encrypted, what it says and not its shell.
pub(crate) struct Clocked<S> {
    pub(crate) stream: S,
    pub(crate) clock: Arc<Clock>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Clocked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(first) = buffer.filled().get(before) {
            self.clock.bytes_came(*first);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clocked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.clock.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.clock.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An encrypted stream takes what is written, and waits here.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.clock.wrote(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;
    use crate::clock::{Expired, Patience, UNREAD_TIMEOUT};

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_runs_on_the_clock() {
        let clock = Clock::start(Patience {
            header: Duration::from_secs(100),
            idle: Duration::from_secs(200),
            body_bytes_per_second_min: 0,
        });
        let (stream, mut peer) = duplex(4);
        let mut clocked = Clocked {
            stream,
            clock: Arc::clone(&clock),
        };
        let expires = timeout(UNREAD_TIMEOUT * 2, clock.expired());
        let (written, expired) = tokio::join!(
            timeout(UNREAD_TIMEOUT, clocked.write_all(b"an answer")),
            expires
        );
        assert!(written.is_err(), "nobody takes it");
        assert_eq!(expired.unwrap(), Expired::Unread);

        let mut taken = [0; 8];
        let (written, read) = tokio::join!(clocked.write_all(b"more"), peer.read_exact(&mut taken));
        written.and(read.map(drop)).unwrap();
        let quiet = timeout(UNREAD_TIMEOUT * 2, clock.expired()).await;
        assert!(quiet.is_err(), "it is taken");
    }
}
