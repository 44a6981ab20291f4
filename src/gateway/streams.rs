//! What stays open after the answer's head: tunnels and long answers, and that they do not outlive their session.

use http::Response;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;

use crate::body::Body;
use crate::headers::ClientUpgrade;
use crate::limit::Who;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::until::{self, Until};
use crate::upgraded::Offer;

use super::Gateway;
use super::door::wanted_upgrade;

impl Gateway {
    /// The switch of protocols that a request asks for, if the route allows it. Without it the request goes on as a plain
    /// one: its `Upgrade` is stripped like every other field of the connection.
    pub(super) fn upgrade(
        &self,
        route: &Route,
        parts: &mut Parts,
        peer: &Peer,
        who: &Who<'_>,
    ) -> Result<Option<ClientUpgrade>, Refusal> {
        let Some(protocol) = wanted_upgrade(route, &parts.headers) else {
            return Ok(None);
        };
        // What follows the head would be taken for the body by one side and for the other protocol by the other.
        let framed = parts
            .headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
        if framed || parts.headers.contains_key(TRANSFER_ENCODING) {
            return Err(Refusal::UpgradeWithBody);
        }
        let offer = parts.extensions.remove::<Offer>();
        let client = offer.and_then(|offer| offer.take());
        Ok(client.map(|client| ClientUpgrade {
            protocol,
            client,
            slot: peer.slot.clone(),
            until: route.cuts.tunnels.then(|| self.over(route, who)).flatten(),
        }))
    }

    /// This answer, cut when its session ends if the route wants that.
    pub(super) fn cut(
        &self,
        route: &Route,
        who: &Who<'_>,
        reply: Response<Body>,
    ) -> Response<Body> {
        if !route.cuts.answers {
            return reply;
        }
        match self.over(route, who) {
            Some(over) => reply.map(|body| until::cut_off(body, over)),
            None => reply,
        }
    }

    /// When what is opened for this client has to be cut; nothing if it has no session.
    fn over(&self, route: &Route, who: &Who<'_>) -> Option<Until> {
        let (token, session) = who.holder?;
        let service = route.policy.service();
        Some(self.sessions.over((token, session), route.max_age, service))
    }
}
