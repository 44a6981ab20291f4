use proptest::prelude::*;

use super::*;

fn all(bytes: &[u8]) -> Result<Vec<Event>, Garbled> {
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(bytes);
    let mut events = Vec::new();
    while let Some(event) = decoder.next()? {
        events.push(event);
    }
    Ok(events)
}

fn text(text: &'static str) -> Frame {
    Frame::Text(Bytes::from_static(text.as_bytes()))
}

fn changed(key: &'static str) -> Event {
    Event::Changed(Bytes::from_static(key.as_bytes()))
}

#[test]
fn pushes_and_answers_come_out_in_their_order() {
    let wire = b"+OK\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\nk1\r\n$4\r\na\r\nb\r\n:7\r\n>2\r\n+invalidate\r\n_\r\n\
        >3\r\n$7\r\nmessage\r\n+a\r\n*1\r\n:1\r\n>2\r\n$10\r\ninvalidate\r\n*0\r\n>2\r\n$10\r\ninvalidate\r\n*-1\r\n+PONG\r\n";

    let events = all(wire).unwrap();

    let expected = vec![
        Event::Answer(text("OK")),
        changed("k1"),
        changed("a\r\nb"),
        Event::Answer(Frame::Number(7)),
        Event::Emptied,
        Event::Other,
        Event::Emptied,
        Event::Answer(text("PONG")),
    ];
    assert_eq!(events, expected);
}

#[test]
fn every_type_of_answer_is_understood() {
    let cases: [(&[u8], Frame); 14] = [
        (b"$3\r\nabc\r\n", text("abc")),
        (b"$0\r\n\r\n", text("")),
        (b"$-1\r\n", Frame::Null),
        (b"*-1\r\n", Frame::Null),
        (b"_\r\n", Frame::Null),
        (b"#t\r\n", Frame::Null),
        (b",1.5\r\n", text("1.5")),
        (b"(123\r\n", text("123")),
        (b"=7\r\ntxt:abc\r\n", text("abc")),
        (b":-12\r\n", Frame::Number(-12)),
        (
            b"%1\r\n+a\r\n:1\r\n",
            Frame::List(vec![text("a"), Frame::Number(1)]),
        ),
        (b"~1\r\n+a\r\n", Frame::List(vec![text("a")])),
        (b"|1\r\n+ttl\r\n:1\r\n+a\r\n", text("a")),
        (
            b"-NOPERM no\r\n",
            Frame::Error(Bytes::from_static(b"NOPERM no")),
        ),
    ];
    for (wire, frame) in cases {
        let name = String::from_utf8_lossy(wire).into_owned();
        assert_eq!(all(wire).unwrap(), [Event::Answer(frame)], "{name}");
    }
    let blob = all(b"!9\r\nERR a bad\r\n").unwrap();
    let [Event::Answer(frame)] = blob.as_slice() else {
        panic!("{blob:?}");
    };
    assert_eq!(frame.refusal(), Some("ERR"));
}

#[test]
fn bytes_that_no_server_sends_end_the_stream() {
    let deep = "*1\r\n".repeat(20);
    let long = format!("+{}", "x".repeat(MAX_LINE + 1));
    let endless = format!(
        "*{}\r\n{}",
        MAX_ANSWER / 3,
        ":1\r\n".repeat(MAX_ANSWER / 3 - 1)
    );
    let cases: Vec<&[u8]> = vec![
        b"?\r\n",
        b"\r\n",
        b"+OK\n",
        b":x\r\n",
        b"$-2\r\n",
        b"$99999999999\r\n",
        b"$99999999999999999999999\r\n",
        b"*99999999999\r\n",
        b"*-5\r\n",
        b"%9223372036854775807\r\n",
        b"$3\r\nabcd\r\n",
        b"$?\r\n",
        b">-1\r\n",
        b">99999\r\n",
        b">2\r\n$10\r\ninvalidate\r\n:5\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*-7\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n:5\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$-1\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$99999999\r\n",
        deep.as_bytes(),
        long.as_bytes(),
        endless.as_bytes(),
    ];
    for wire in cases {
        let name: String = String::from_utf8_lossy(wire).chars().take(40).collect();
        assert_eq!(all(wire), Err(Garbled), "{name}");
    }
}

#[test]
fn push_of_a_million_keys_is_handed_out_without_being_kept() {
    let mut decoder = Decoder::default();
    let head = b">2\r\n$10\r\ninvalidate\r\n*1000000\r\n";
    decoder.buffer().extend_from_slice(head);
    let mut keys = 0;
    for _ in 0..1_000_000 {
        decoder.buffer().extend_from_slice(b"$3\r\nkey\r\n");
        while let Some(event) = decoder.next().unwrap() {
            assert_eq!(event, changed("key"));
            keys += 1;
        }
        assert!(decoder.buffer().len() < 100);
    }

    assert_eq!(keys, 1_000_000);
    decoder.buffer().extend_from_slice(b"+PONG\r\n");
    assert_eq!(decoder.next(), Ok(Some(Event::Answer(text("PONG")))));
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        "[a-z ]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let mut wire = format!("${}\r\n", bytes.len()).into_bytes();
            wire.extend(bytes);
            wire.extend(b"\r\n");
            wire
        }),
        Just(b"_\r\n".to_vec()),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|items| {
            let mut wire = format!("*{}\r\n", items.len()).into_bytes();
            wire.extend(items.concat());
            wire
        })
    })
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..5).prop_map(|keys| {
        let mut wire = format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n", keys.len()).into_bytes();
        for key in keys {
            wire.extend(format!("${}\r\n", key.len()).into_bytes());
            wire.extend(key);
            wire.extend(b"\r\n");
        }
        wire
    })
}

proptest! {
    #[test]
    fn it_does_not_matter_where_the_bytes_are_torn_apart(
        parts in prop::collection::vec(prop_oneof![value(), keys()], 1..6),
        cuts in prop::collection::vec(1_usize..9, 1..20),
    ) {
        let wire = parts.concat();
        let whole = all(&wire).unwrap();
        let mut decoder = Decoder::default();
        let mut torn = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at(rest.len().min(*cut));
            decoder.buffer().extend_from_slice(piece);
            while let Some(event) = decoder.next().unwrap() {
                torn.push(event);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole, torn);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        all(&bytes).ok();
    }

    #[test]
    fn no_bytes_of_its_own_alphabet_make_it_panic(bytes in "[-+:$*>_|~%=!0-9\r\nainv]{0,120}") {
        all(bytes.as_bytes()).ok();
    }
}
