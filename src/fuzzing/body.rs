//! Chunked bodies.

use bytes::BytesMut;
use http::HeaderMap;

use crate::chunked::{Chunks, Malformed, Part};

/// Data, trailers, and how many bytes are left behind; without trailers, if the end has not come.
type Read = Result<(Vec<u8>, Option<HeaderMap>, usize), Malformed>;

/// The first byte says how the others are cut in pieces. A body is read alike however it comes; what is read of it, and
/// written again, is read alike again.
pub fn chunks(bytes: &[u8]) {
    let Some((step, body)) = bytes.split_first() else {
        return;
    };
    let whole = read(body, usize::MAX);
    assert_eq!(read(body, usize::from(*step).max(1)), whole);
    assert_eq!(read(body, 1), whole);

    if let Ok((data, Some(trailers), left)) = whole {
        let mut again = Vec::new();
        if !data.is_empty() {
            again.extend(format!("{:x}\r\n", data.len()).into_bytes());
            again.extend_from_slice(&data);
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"0\r\n");
        for (name, value) in &trailers {
            again.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes()].concat());
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"\r\n");
        again.extend_from_slice(body.get(body.len() - left..).unwrap_or_default());
        assert_eq!(read(&again, 7), Ok((data, Some(trailers), left)));
    }
}

fn read(body: &[u8], step: usize) -> Read {
    let (mut chunks, mut ahead, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
    let mut pieces = body.chunks(step.min(body.len()).max(1));
    loop {
        match chunks.next(&mut ahead)? {
            Part::Data(bytes) => data.extend_from_slice(&bytes),
            Part::End(fields) => {
                let left = ahead.len() + pieces.map(<[u8]>::len).sum::<usize>();
                return Ok((data, Some(fields), left));
            }
            Part::More => match pieces.next() {
                Some(piece) => ahead.extend_from_slice(piece),
                None => return Ok((data, None, 0)),
            },
        }
    }
}
