//! Which requests are calls of gRPC.

use http::Version;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;

/// Whether this is a call of gRPC: over HTTP/2, its content `application/grpc`, with the encoding of its messages or
/// without. `application/grpc-web` is something else.
pub fn is_grpc(parts: &Parts) -> bool {
    let content = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content.and_then(|content| content.strip_prefix(b"application/grpc"));
    parts.version == Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_of_grpc_are() {
        for (content_type, version, grpc) in [
            ("application/grpc", Version::HTTP_2, true),
            ("application/grpc+proto", Version::HTTP_2, true),
            ("application/grpc;x=1", Version::HTTP_2, true),
            ("application/grpc", Version::HTTP_11, false),
            ("application/grpc-web", Version::HTTP_2, false),
            ("application/json", Version::HTTP_2, false),
        ] {
            let request = http::Request::builder()
                .version(version)
                .header(CONTENT_TYPE, content_type);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_grpc(&parts), grpc, "{content_type} {version:?}");
        }
    }
}
