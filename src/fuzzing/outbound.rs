//! What is made of a client's head for the upstream.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::request::{let_in, limits};
use crate::body::Body;
use crate::config::{Auth, Config, Require};
use crate::head::canonical_path;
use crate::headers::Facts;
use crate::peer::Peer;
use crate::policy::{Decision, Holder, Policy};
use crate::route::Routes;
use crate::server::fuzzing::read_head;
use crate::session::Session;
use crate::token::TokenSources;
use crate::upstream::{Services, Upstreams};

const TOML: &str = r#"
listeners = [{ address = "127.0.0.1:0" }]
store = { embedded = "x" }
[tokens]
sources = ["bearer", "cookie:session", "header:x-token"]
[upstreams.app]
endpoints = ["http://127.0.0.1:9"]
[[routes]]
prefix = "/"
upstream = "app"
"#;

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let config: Config = toml::from_str(TOML).expect("it is a configuration");
    let worker = crate::metrics::Worker::default();
    let upstreams = Upstreams::build(&config.upstreams, &Services::default(), &worker);
    Routes::build(
        &config,
        &upstreams.expect("an address is no name to look up"),
        None,
    )
});

/// An upstream is sent one head, which it cannot read in two ways; it learns who the user is from us alone, and never a
/// token.
pub fn outbound(bytes: &[u8]) {
    let Some((request, head, _)) = let_in(bytes) else {
        return;
    };
    let route = ROUTES.iter().next().expect("there is one");
    let address = SocketAddr::from(([203, 0, 113, 7], 4711));
    let peer = Peer::new(address, address, None);
    let origin = route.headers.forwarded.origin(&peer, request.headers());
    let facts = Facts {
        head: &head,
        peer: &peer,
        origin: &origin,
        request_id: &HeaderValue::from_static("an-id"),
        token: None,
    };
    let permit = judged().expect("nothing is asked for");
    let path = head.path(&request.clone().into_parts().0).to_owned();
    let method = request.method().clone();
    let dressed = route
        .headers
        .dress(request.map(|()| Body::default()), &facts, &permit, None)
        .expect("the name of the user is short");
    let written = dressed.into_parcel().head.into_bytes();

    let read = read_head(&written, &limits())
        .expect("it is a head")
        .expect("it is whole");
    assert_eq!(read.length, written.len(), "two heads");
    assert_eq!(read.fault, None);
    assert_eq!(*read.request.method(), method);
    assert_eq!(read.request.uri().path(), path);
    assert_eq!(canonical_path(&path).as_deref(), Ok(path.as_str()));
    check_fields(read.request.headers(), &route.tokens, &method);
}

fn check_fields(fields: &HeaderMap, tokens: &TokenSources, method: &Method) {
    let managed = &ROUTES.iter().next().expect("there is one").headers.managed;
    for (name, _) in fields {
        if managed.covers(name.as_str()) {
            assert_eq!(fields.get_all(name).iter().count(), 1, "{name}");
        }
    }
    let says = |name: &'static str| {
        let mut values = fields.get_all(HeaderName::from_static(name)).iter();
        (values.next().map(HeaderValue::as_bytes), values.next())
    };
    assert_eq!(says("x-user-id"), (Some(b"alice".as_slice()), None));
    assert_eq!(
        says("x-forwarded-for"),
        (Some(b"203.0.113.7".as_slice()), None)
    );
    assert!(matches!(says("host"), (Some(_), None)));
    assert_eq!(says("transfer-encoding").0, None);
    let length = says("content-length");
    assert!(
        matches!(length, (None | Some(b"0"), None)),
        "{method}: {length:?}"
    );
    for bound in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "upgrade",
        "expect",
    ] {
        assert_eq!(says(bound).0, None, "{bound}");
    }
    assert!(matches!(tokens.find(fields), Ok(None)), "a token goes on");
}

fn judged() -> Decision {
    let session = Session {
        user_id: "alice".into(),
        ..Session::default()
    };
    let policy = Policy::new(Auth::Required, &Require::default());
    policy.judge(Holder::Session(Arc::new(session)))
}
