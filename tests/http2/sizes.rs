//! Frames of a size that their kind cannot have: the connection ends, and the client is told why in the word that RFC
//! 9113 has for it (section 4.2).

use super::*;
use support::h2_raw::{FRAME_SIZE_ERROR, GOAWAY};

const ACK: u8 = 1;

#[tokio::test]
async fn a_frame_of_an_impossible_size_ends_the_connection_as_one() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let cases = [
        ("6.3 PRIORITY", PRIORITY, 0, 1, 4),
        ("6.3 longer PRIORITY", PRIORITY, 0, 1, 6),
        ("6.4 RST_STREAM", RST_STREAM, 0, 1, 3),
        ("6.5 SETTINGS", SETTINGS, 0, 0, 7),
        ("6.5 SETTINGS that acknowledges", SETTINGS, ACK, 0, 6),
        ("6.7 PING", PING, 0, 0, 6),
        ("6.7 longer PING", PING, 0, 0, 9),
        ("6.8 GOAWAY", GOAWAY, 0, 0, 7),
        ("6.9 WINDOW_UPDATE", WINDOW_UPDATE, 0, 0, 3),
    ];
    for (name, kind, flags, stream, length) in cases {
        let mut raw = RawH2::connect(&gateway, &[]).await;
        raw.write(request(1, &fields(&[]))).await;
        assert_eq!(raw.news().await, Event::Status(1, 200), "{name}");
        while !matches!(raw.news().await, Event::Data(1, _, true)) {}

        raw.write(frame(kind, flags, stream, &vec![0; length]))
            .await;

        assert_eq!(raw.news().await, Event::GoAway(FRAME_SIZE_ERROR), "{name}");
        assert_eq!(raw.news().await, Event::Closed, "{name}");
        gateway.still_serves().await;
    }
}

#[tokio::test]
async fn frames_of_every_size_that_their_kind_may_have_are_taken() {
    let upstream = upstream();
    let gateway = door(&upstream).await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    let priority = [0, 0, 0, 0, 16];
    raw.write(frame(PRIORITY, 0, 3, &priority)).await;
    raw.write(frame(SETTINGS, 0, 0, b"")).await;
    raw.write(
        [setting(1, 0), setting(4, 70_000)]
            .map(|pair| frame(SETTINGS, 0, 0, &pair))
            .concat(),
    )
    .await;
    raw.write(frame(SETTINGS, ACK, 0, b"")).await;
    raw.write(frame(PING, 0, 0, &[7; 8])).await;
    raw.write(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    raw.write(frame(0xff, 0, 0, b"of no kind")).await;
    raw.write(begin(1, &fields(&[(":method", "POST")]))).await;
    raw.write(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
    raw.write(request(3, &fields(&[]))).await;

    assert_eq!(raw.news().await, Event::Status(3, 200));
}
