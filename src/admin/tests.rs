//! The port with real sockets.
