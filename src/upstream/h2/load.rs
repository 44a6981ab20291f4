//! The body of a request while hyper sends it, and what can be had back of it if it is not sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use crate::body::{Body, BodyError};

/// A body, held on to while hyper has it: hyper drops what it cannot send, and does not tell what a body broke off with.
#[derive(Debug)]
pub(super) struct Held {
    body: Mutex<Body>,
    touched: AtomicBool,
    broken: Mutex<Option<BodyError>>,
}

/// The body as hyper sees it.
#[derive(Debug)]
pub(in crate::upstream) struct Load(Arc<Held>);

impl Held {
    pub(super) fn new(body: Body) -> Arc<Self> {
        Arc::new(Self {
            body: Mutex::new(body),
            touched: AtomicBool::new(false),
            broken: Mutex::default(),
        })
    }

    /// What the body broke off with.
    pub(super) fn broken(&self) -> Option<BodyError> {
        self.broken.lock().take()
    }

    /// The body, if nothing of it has been taken.
    pub(super) fn give_back(&self) -> Option<Body> {
        let touched = self.touched.load(Ordering::Relaxed);
        (!touched).then(|| std::mem::take(&mut *self.body.lock()))
    }
}

impl Load {
    pub(super) fn new(held: &Arc<Held>) -> Self {
        Self(Arc::clone(held))
    }
}

impl HttpBody for Load {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let held = &self.0;
        let frame = ready!(Pin::new(&mut *held.body.lock()).poll_frame(cx));
        held.touched.store(true, Ordering::Relaxed);
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                *held.broken.lock() = Some(error);
                "the request body broke off".into()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().size_hint()
    }
}
