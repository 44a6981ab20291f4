//! Several commands in one write.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Lets all of them run at once, on this task; the outputs stand in the order of the futures.
///
/// Commands that are handed to fred at once leave in one write, each to the node of a cluster that it belongs to. A
/// pipeline of fred makes a write of each where nothing else is waiting, and fails as a whole.
pub(super) async fn together<F: Future>(futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut futures = futures;
    poll_fn(|cx| {
        let mut all = true;
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
