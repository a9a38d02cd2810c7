//! The body of an answer: whole, or one that ends before its announced length.
//!
//! Contract: of a cut body everything given is on the wire before the connection is
//! closed; that needs a moment in which the connection has nothing else to do.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long the connection has to send what there is.
const FLUSH: Duration = Duration::from_millis(20);

/// Bytes, and whether they are all.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Option<Bytes>,
    cut: bool,
    flushing: Option<Pin<Box<Sleep>>>,
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            cut: false,
            flushing: None,
        }
    }

    /// A body that claims no length: the reply's header names a greater one, and the
    /// server closes the connection when it is not reached.
    pub(super) fn cut(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            cut: true,
            flushing: None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        let flushing = self.flushing.get_or_insert_with(|| Box::pin(sleep(FLUSH)));
        flushing.as_mut().poll(context).map(|()| None)
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bytes {
            _ if self.cut => SizeHint::default(),
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::with_exact(0),
        }
    }
}
