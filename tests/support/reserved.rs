//! A port that nobody else gets.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A loopback port at which nobody listens while this is there. Who sets SO_REUSEADDR, as servers do, may begin to; the
/// kernel gives it to nobody who asks for any port.
pub struct Reserved(TcpSocket);

impl Reserved {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("set");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }
}
