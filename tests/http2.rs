//! Hostile HTTP/2, frame by frame: B-35 to B-53. Each case ends with proof that the gateway still serves.

mod support;

#[path = "http2/floods.rs"]
mod floods;
#[path = "http2/fragment.rs"]
mod fragment;
#[path = "http2/heads.rs"]
mod heads;
#[path = "http2/sizes.rs"]
mod sizes;
#[path = "http2/slow.rs"]
mod slow;

use support::h2_raw::{
    CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, Event, HEADERS, PING, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, RawH2, SETTINGS, WINDOW_UPDATE,
    block, frame, setting,
};
use support::{Gateway, Setup, Upstream, gateway, upstream};

fn setup(upstream: &Upstream) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

async fn door(upstream: &Upstream) -> Gateway {
    setup(upstream).start().await
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// `GET https://a.test/public` with these changes: a field of the same name is replaced, others are added.
fn fields(changes: &[(&str, &str)]) -> Fields {
    let mut fields: Fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/public"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    for (name, value) in changes {
        let known = fields
            .iter_mut()
            .find(|(known, _)| known == name.as_bytes() && known.starts_with(b":"));
        match known {
            Some((_, known)) => *known = value.as_bytes().to_vec(),
            None => fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
    fields
}

/// A whole request without a body.
fn request(stream: u32, fields: &Fields) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// The head of a request whose body follows.
fn begin(stream: u32, fields: &Fields) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}
