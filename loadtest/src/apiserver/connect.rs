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

use super::access::Access;
use super::tally::Tally;

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
const HTTP_1_ONLY: &[&[u8]] = &[b"http/1.1"];

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

/// Opens connections and counts them: as a service, for HTTP/1.1.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) access: Arc<Access>,
    pub(super) tally: Arc<Tally>,
    /// A connection that was opened to learn what the sink speaks, and turned out to be one of these.
    pub(super) spare: Arc<Mutex<Option<Timed>>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Timed;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Timed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let spare = connector.spare.lock();
            let spare = spare.unwrap_or_else(PoisonError::into_inner).take();
            match spare {
                Some(connection) => Ok(connection),
                None => connector.connect(&uri, HTTP_1_ONLY).await,
            }
        })
    }
}

impl Connector {
    /// Opens a connection; with `https` one that offers these protocols.
    pub(super) async fn connect(&self, uri: &Uri, protocols: &[&[u8]]) -> io::Result<Timed> {
        let connection = connect(uri, &self.access, protocols).await?;
        self.tally.connected();
        Ok(connection)
    }
}

async fn connect(uri: &Uri, access: &Access, protocols: &[&[u8]]) -> io::Result<Timed> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_encrypted = uri.scheme_str() == Some("https");
    let port = uri.port_u16();
    let port = port.unwrap_or(if is_encrypted { HTTPS_PORT } else { HTTP_PORT });
    let addresses = lookup_host((host, port)).await?;
    let loopback: Vec<SocketAddr> = addresses.filter(|addr| addr.ip().is_loopback()).collect();
    // With no address left this is an error, as it should be.
    let stream = TcpStream::connect(loopback.as_slice()).await?;
    // Go sets it on every connection.
    stream.set_nodelay(true)?;
    let (stream, is_http2): (Box<dyn Duplex>, bool) = if is_encrypted {
        let stream = access.encrypt(stream, host, protocols).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        (Box::new(TokioIo::new(stream)), is_http2)
    } else {
        (Box::new(TokioIo::new(stream)), false)
    };
    Ok(Timed {
        stream,
        is_http2,
        last_write: LastWrite(Arc::new(Mutex::new(Instant::now()))),
    })
}

/// A connection, encrypted or not.
trait Duplex: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Duplex for T {}

/// A connection that notes when it was written to.
pub(super) struct Timed {
    stream: Box<dyn Duplex>,
    /// What was agreed on in the handshake.
    pub(super) is_http2: bool,
    last_write: LastWrite,
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Timed").finish_non_exhaustive()
    }
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
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl Write for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
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
        let plain = Access::default();
        let connects = async |host: &str| connect(&uri(host), &plain, &[]).await.is_ok();
        assert!(connects("127.0.0.1").await);
        assert!(connects("localhost").await);
        // Linux connects 0.0.0.0 to this machine: without the check it would succeed.
        assert!(!connects("0.0.0.0").await);
    }
}
