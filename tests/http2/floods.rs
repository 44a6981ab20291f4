//! B-42 to B-45, B-47, B-48, B-50: more than a client may send.
//!
//! The library bounds resets that it has not seen yet, empty DATA and CONTINUATION, too: that our own count of these is
//! gone shows only in the tests of src/server/http2/frames.rs and in `a_flood_within_answers_still_ends`.

use super::*;

/// Sends a flood; the codes of the GOAWAYs that answer it, until the gateway closes.
async fn flood(gateway: &Gateway, frames: impl Iterator<Item = Vec<u8>>) -> Vec<u32> {
    let mut raw = RawH2::connect(gateway, &[]).await;
    let all: Vec<u8> = frames.flatten().collect();
    for piece in all.chunks(32 << 10) {
        raw.write(piece).await;
    }
    let events = raw.until_closed().await;
    let codes = events.into_iter().filter_map(|event| match event {
        Event::GoAway(code) => Some(code),
        _ => None,
    });
    codes.collect()
}

#[tokio::test]
async fn floods_end_the_connection_with_enhance_your_calm() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let get = |n: u32| request(2 * n + 1, &fields(&[]));
    let post = |n: u32| begin(2 * n + 1, &fields(&[(":method", "POST")]));
    let reset = |n: u32| frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes());
    let one = |n: u32| frame(WINDOW_UPDATE, 0, n, &1_u32.to_be_bytes());
    let floods: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("B-48 PING", vec![frame(PING, 0, 0, &[0; 8]); 5000]),
        ("B-48 SETTINGS", vec![frame(SETTINGS, 0, 0, &[]); 5000]),
        (
            "B-48 PRIORITY",
            (0..5000)
                .map(|n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1]))
                .collect(),
        ),
        ("B-48 WINDOW_UPDATE", vec![one(0); 5000]),
        ("B-48 unknown frames", vec![frame(0xbe, 0, 0, b"x"); 5000]),
        (
            "B-42 rapid reset",
            (0..2000).flat_map(|n| [get(n), reset(n)]).collect(),
        ),
        (
            "B-47 empty DATA",
            std::iter::once(post(0))
                .chain(vec![frame(DATA, 0, 1, b""); 5000])
                .collect(),
        ),
    ];
    for (name, frames) in floods {
        let codes = flood(&gateway, frames.into_iter()).await;

        assert!(codes.contains(&CALM), "{name}: {codes:?}");
        gateway.still_serves().await;
    }
}

#[tokio::test]
async fn a_flood_within_answers_still_ends() {
    let upstream = upstream();
    let mut gateway = setup(&upstream)
        .toml("[limits]\nmax_control_frames = 10")
        .start()
        .await;
    let reset = |n: u32| frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes());
    let private = fields(&[(":method", "POST"), (":path", "/private")]);
    let mut raw = RawH2::connect(&gateway, &[]).await;
    // A request whose answer is awaited before it is reset is no rapid reset to the library, and yet there may not be thousands.
    let mut told = None;
    for n in 0..5000 {
        let stream = 2 * n + 1;
        raw.write(begin(stream, &private)).await;
        loop {
            match raw.news().await {
                Event::Status(answered, 401) if answered == stream => break,
                Event::GoAway(code) => told = Some(code),
                Event::Closed => break,
                _ => {}
            }
        }
        if told.is_some() {
            break;
        }
        raw.write(reset(n)).await;
    }
    assert_eq!(told, Some(CALM));
    gateway.still_serves().await;
}

#[tokio::test]
async fn what_the_library_bounds_ends_the_connection_too() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let get = |n: u32| begin(2 * n + 1, &fields(&[(":method", "POST")]));
    let open = frame(HEADERS, END_STREAM, 1, &block(&fields(&[])));
    let bomb = {
        // One entry of 4,000 bytes goes into the table; then it is referred to 16,000 times.
        let mut block = block(&fields(&[]));
        block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
        block.extend(vec![b'y'; 4000]);
        block.extend(vec![0xbe; 10_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
    };
    let floods: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "B-44 empty CONTINUATION",
            std::iter::once(open.clone())
                .chain(vec![frame(CONTINUATION, 0, 1, b""); 2000])
                .collect(),
        ),
        (
            "B-44 CONTINUATION",
            std::iter::once(open)
                .chain(vec![
                    frame(
                        CONTINUATION,
                        0,
                        1,
                        &block(&[("x", "y".repeat(90))])
                    );
                    2000
                ])
                .collect(),
        ),
        (
            "B-43 zero WINDOW_UPDATE",
            (0..2000)
                .flat_map(|n| [get(n), frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0; 4])])
                .collect(),
        ),
        (
            "B-43 bad length",
            (0..2000)
                .map(|n| request(2 * n + 1, &fields(&[("content-length", "5")])))
                .collect(),
        ),
        (
            "B-47 tiny DATA",
            std::iter::once(get(0))
                .chain(vec![frame(DATA, 0, 1, b"x"); 40_000])
                .collect(),
        ),
    ];
    for (name, frames) in floods {
        let codes = flood(&gateway, frames.into_iter()).await;

        assert!(codes.iter().any(|code| *code != 0), "{name}: {codes:?}");
        gateway.still_serves().await;
    }
    let mut raw = RawH2::connect(&gateway, &[]).await;
    raw.write(bomb).await;
    let event = raw.news().await;
    assert!(
        matches!(event, Event::Status(1, 431) | Event::GoAway(1..)),
        "B-45 {event:?}"
    );
    gateway.still_serves().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let upstream = upstream();
    let mut gateway = setup(&upstream)
        .toml("[limits]\nmax_streams = 10")
        .start()
        .await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    for n in 0..30_u32 {
        raw.write(begin(2 * n + 1, &fields(&[(":method", "POST")])))
            .await;
    }
    let mut refused = Vec::new();
    while refused.len() < 20 {
        match raw.news().await {
            Event::Reset(stream, code) => {
                assert_eq!(code, REFUSED_STREAM);
                refused.push(stream);
            }
            event => panic!("{event:?}"),
        }
    }
    for n in 0..10_u32 {
        raw.write(frame(DATA, END_STREAM, 2 * n + 1, b"x")).await;
    }
    let mut served = 0;
    while served < 10 {
        if let Event::Status(stream, status) = raw.news().await {
            assert!(status == 200 && !refused.contains(&stream));
            served += 1;
        }
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn work_is_no_flood() {
    let upstream = upstream();
    let gateway = setup(&upstream)
        .toml("[limits]\nmax_control_frames = 50")
        .start()
        .await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    // Each request is followed by what a browser sends with it.
    for n in 0..500_u32 {
        let stream = 2 * n + 1;
        raw.write(request(stream, &fields(&[]))).await;
        raw.write(frame(WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes()))
            .await;
        loop {
            match raw.news().await {
                Event::Data(done, _, true) if done == stream => break,
                Event::Status(_, 200) | Event::Data(..) => {}
                event => panic!("{n}: {event:?}"),
            }
        }
    }
    assert_eq!(upstream.seen().len(), 500);
}
