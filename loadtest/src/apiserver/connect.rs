//! Connections to loopback that remember when they were last written to.
//!
//! Contract:
//! * no connection goes anywhere but to loopback, whatever a name resolves to;
//! * every response carries its connection's [`LastWrite`] among its extensions. As HTTP/1.1 is not
//!   pipelined here, that is the time of the last byte of the request which the response answers,
//!   until the connection is given to the next request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;

use super::tally::Tally;

const HTTP_PORT: u16 = 80;

/// When the connection was last written to.
#[derive(Clone, Debug)]
pub(super) struct LastWrite(Arc<Mutex<Instant>>);

impl LastWrite {
    pub(super) fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Opens connections and counts them.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Tally>);

impl tower_service::Service<Uri> for Connector {
    type Response = Timed;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Timed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tally = Arc::clone(&self.0);
        Box::pin(async move {
            let connection = connect(&uri).await?;
            tally.connected();
            Ok(connection)
        })
    }
}

async fn connect(uri: &Uri) -> io::Result<Timed> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(HTTP_PORT);
    let addresses = lookup_host((host, port)).await?;
    let loopback: Vec<SocketAddr> = addresses.filter(|addr| addr.ip().is_loopback()).collect();
    // With no address left this is an error, as it should be.
    let stream = TcpStream::connect(loopback.as_slice()).await?;
    // Go sets it on every connection.
    stream.set_nodelay(true)?;
    Ok(Timed {
        stream: TokioIo::new(stream),
        last_write: LastWrite(Arc::new(Mutex::new(Instant::now()))),
    })
}

/// A connection that notes when it was written to.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TokioIo<TcpStream>,
    last_write: LastWrite,
}

impl Timed {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = written {
            self.last_write.is_now();
        }
        written
    }
}

impl Connection for Timed {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.last_write.clone())
    }
}

impl Read for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_but_loopback_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let uri = |host: &str| {
            format!("http://{host}:{port}/")
                .parse::<Uri>()
                .expect("a URI")
        };
        assert!(connect(&uri("127.0.0.1")).await.is_ok());
        assert!(connect(&uri("localhost")).await.is_ok());
        // Linux connects 0.0.0.0 to this machine: without the check it would succeed.
        assert!(connect(&uri("0.0.0.0")).await.is_err());
    }
}
