//! Paths.

use percent_encoding::percent_decode_str;

use crate::head::canonical_path;

/// The one form of a path is its own one form, means the same, and whoever decodes it once more finds no way up, no host,
/// no end of a text and nothing that is not UTF-8.
pub fn path(bytes: &[u8]) {
    let Ok(sent) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(path) = canonical_path(sent) else {
        return;
    };
    assert_eq!(canonical_path(&path).as_deref(), Ok(path.as_ref()));
    let decoded: Vec<u8> = percent_decode_str(&path).collect();
    assert_eq!(decoded, percent_decode_str(sent).collect::<Vec<_>>());
    assert!(std::str::from_utf8(&decoded).is_ok());
    assert!(
        !decoded
            .iter()
            .any(|byte| *byte < 0x20 || b"\\\x7f".contains(byte))
    );
    assert!(!decoded.windows(2).any(|pair| pair == b"//"));
    let mut segments = decoded.split(|byte| *byte == b'/');
    let climbs = segments.any(|segment| {
        let name = segment.split(|byte| *byte == b';').next();
        name == Some(b".") || name == Some(b"..")
    });
    assert!(!climbs, "{path}");
    let plain = |byte: u8| byte.is_ascii_graphic() && !b";#?\\".contains(&byte);
    assert!(path.starts_with('/') && path.bytes().all(plain));
}
