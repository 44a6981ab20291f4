//! Requests that may be sent whenever it comes to that.

use std::pin::Pin;

use super::*;
use crate::uptime::Uptime;

/// Lets everything through, whenever it is asked.
struct Anybody;

impl Judge for Anybody {
    fn judge(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(std::future::ready(true))
    }
}

impl Upstream {
    pub(super) async fn send(&self, parcel: Parcel) -> Result<Response<Body>, UpstreamError> {
        let admission = Admission {
            began: Instant::now(),
            since: Uptime::now(),
            judge: &mut Anybody,
        };
        Ok(self.carry(parcel, admission).await?.0)
    }
}
