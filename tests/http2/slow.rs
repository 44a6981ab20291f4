//! B-49, B-51, B-53: clients that wait for nothing to happen.

use super::*;
use crate::support::{Answer, upstream_that};

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_at_its_deadline() {
    let upstream = upstream();
    let limits = "[limits]\nfirst_byte_timeout = \"200ms\"\nheader_timeout = \"200ms\"\nidle_timeout = \"300ms\"";
    let mut gateway = setup(&upstream).toml(limits).start().await;
    let half = frame(HEADERS, END_STREAM, 1, &block(&fields(&[])));
    let whole = request(1, &fields(&[]));

    RawH2::silent(&gateway).await.until_closed().await;
    let mut partial = RawH2::silent(&gateway).await;
    partial.write(b"PRI * HT").await;
    partial.until_closed().await;
    RawH2::connect(&gateway, &[]).await.until_closed().await;
    let mut torn = RawH2::connect(&gateway, &[]).await;
    torn.write(half).await;
    torn.until_closed().await;
    let mut idle = RawH2::connect(&gateway, &[]).await;
    idle.write(whole).await;
    let mut events = Vec::new();
    while !events.contains(&Event::Closed) {
        events.push(idle.event().await);
    }
    assert!(events.contains(&Event::Status(1, 200)), "{events:?}");
    assert!(events.contains(&Event::GoAway(0)), "{events:?}");
    // It is the deadline that has closed it, and not that nobody answers a PING.
    let mut before = events.split(|event| *event == Event::GoAway(0));
    let before = before.next().unwrap();
    assert!(!before.contains(&Event::Other(PING)), "{events:?}");
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_does_not_outlast_its_deadline_while_another_request_is_under_way()
{
    let upstream = upstream_that(|_| Answer::Hold);
    let gateway = setup(&upstream)
        .toml("[limits]\nheader_timeout = \"200ms\"")
        .start()
        .await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    raw.write(request(1, &fields(&[]))).await;
    let _held = upstream.held().await;
    raw.write(frame(HEADERS, END_STREAM, 3, &block(&fields(&[]))))
        .await;

    assert_eq!(raw.news().await, Event::Closed);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_reset_and_one_that_is_awaited_is_not() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/public/held" => Answer::Hold,
        _ => Answer::Echo,
    });
    let limits = "[limits]\nwrite_timeout = \"300ms\"";
    let mut gateway = setup(&upstream).toml(limits).start().await;
    // No window at all; one byte of it.
    for window in [0, 1] {
        let mut raw = RawH2::connect(&gateway, &setting(4, window)).await;
        for n in 0..20 {
            raw.write(request(2 * n + 1, &fields(&[]))).await;
        }
        let (mut answered, mut reset) = (0, 0);
        while window == 0 && reset < 20 {
            match raw.news().await {
                Event::Status(_, 200) => answered += 1,
                Event::Reset(_, _) => reset += 1,
                event => panic!("{event:?}"),
            }
        }
        assert!(answered == 20 || window > 0);
    }
    let mut raw = RawH2::connect(&gateway, &[]).await;
    raw.write(request(1, &fields(&[(":path", "/public/held")])))
        .await;
    let mut held = upstream.held().await;
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    held.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nha")
        .await;
    assert_eq!(raw.news().await, Event::Status(1, 200));
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    held.write("lf").await;
    while raw.news().await != Event::Data(1, 2, true) {}
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_promise_ends_the_connection_before_its_rest_is_waited_for() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    for flags in [0, END_HEADERS] {
        let mut raw = RawH2::connect(&gateway, &[]).await;
        let promised = 2_u32.to_be_bytes().to_vec();
        let block = block(&fields(&[]));
        raw.write(frame(PUSH_PROMISE, flags, 1, &[promised, block].concat()))
            .await;

        assert_eq!(raw.news().await, Event::GoAway(PROTOCOL_ERROR), "{flags}");
        gateway.still_serves().await;
    }
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.target() == "/public/alive")
    );
}

#[tokio::test]
async fn a_body_that_is_announced_as_empty_is_waited_for_until_it_ends() {
    let upstream = upstream();
    let gateway = setup(&upstream)
        .toml("[limits]\nheader_timeout = \"300ms\"")
        .start()
        .await;
    let head = begin(1, &fields(&[(":method", "POST"), ("content-length", "0")]));
    let mut raw = RawH2::connect(&gateway, &[]).await;
    raw.write(&head).await;
    assert_eq!(raw.news().await, Event::Status(1, 408));
    assert!(upstream.seen().is_empty());

    let mut raw = RawH2::connect(&gateway, &[]).await;
    let end = [frame(DATA, 0, 1, b""), frame(DATA, END_STREAM, 1, b"")].concat();
    raw.write([head, end].concat()).await;
    assert_eq!(raw.news().await, Event::Status(1, 200));
    assert_eq!(upstream.last().header("content-length"), Some("0"));
}
