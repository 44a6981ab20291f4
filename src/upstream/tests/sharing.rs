//! Which endpoint gets a request, what becomes of one that fails, and how many requests are too many.

use super::reuse::upstream_of;
use super::*;

const BAD: Answer = Answer::Keep("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno");
const TURNS: &str = "balance = 'round_robin'";

/// An address where nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn send_many(upstream: &Upstream, count: usize) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        if let Ok(answer) = send(upstream, get()).await {
            read(answer.into_body()).await.unwrap();
            answered += 1;
        }
    }
    answered
}

#[tokio::test]
async fn endpoints_take_turns_and_one_that_refuses_is_passed_over() {
    let (one, seen_one) = scripted(&[OK]).await;
    let (two, seen_two) = scripted(&[OK]).await;
    let upstream = upstream(&[one, closed().await, two], TURNS);

    assert_eq!(send_many(&upstream, 6).await, 6);

    assert_eq!(seen_one.requests().len() + seen_two.requests().len(), 6);
    assert!(seen_one.requests().len() > 1 && seen_two.requests().len() > 1);
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_left_out() {
    for (after, retries) in [(2, 2), (0, 10)] {
        let (works, _) = scripted(&[OK]).await;
        let rest = format!("{TURNS}\nejection = {{ after = {after}, time = '1h' }}");
        let upstream = upstream(&[works, closed().await], &rest);

        assert_eq!(send_many(&upstream, 20).await, 20);

        assert!(upstream.cells.retries.get().abs_diff(retries) <= 1);
        assert_eq!(upstream.cells.ejections.get(), u64::from(after > 0));
    }
}

#[tokio::test]
async fn never_more_than_half_is_left_out_and_never_the_only_one() {
    for (count, out) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let mut addresses = Vec::new();
        for _ in 0..count {
            addresses.push(closed().await);
        }
        let rest = "balance = 'round_robin'\nejection = { after = 1, time = '1h' }";
        let upstream = upstream(&addresses, rest);

        assert_eq!(send_many(&upstream, 12).await, 0);

        assert_eq!(upstream.cells.ejections.get(), out, "{count}");
    }
}

#[tokio::test]
async fn statuses_that_count_as_failures_are_handed_on_and_counted() {
    for (statuses, asked) in [("[503]", 3), ("[502]", 10)] {
        let (bad, seen) = scripted(&[BAD]).await;
        let (works, _) = scripted(&[OK]).await;
        let rest =
            format!("{TURNS}\nejection = {{ after = 3, time = '1h', statuses = {statuses} }}");

        assert_eq!(send_many(&upstream(&[bad, works], &rest), 20).await, 20);

        assert!(seen.requests().len().abs_diff(asked) <= 1, "{statuses}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_left_out_is_asked_rather_than_nobody_and_is_back_if_it_answers() {
    let (one, _) = scripted(&[BAD, BAD, OK]).await;
    let two = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rest = format!("{TURNS}\nejection = {{ after = 1, time = '1h', statuses = [503] }}");
    let upstream = upstream(&[one, two.local_addr().unwrap()], &rest);
    let served = tokio::spawn(async move {
        let (mut stream, _) = two.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    while upstream.cells.ejections.get() == 0 {
        send_many(&upstream, 1).await;
    }
    send_many(&upstream, 1).await;
    served.await.unwrap();

    // The other one is gone by now.
    assert_eq!(send_many(&upstream, 8).await, 8);
    let now = Instant::now();
    assert!(!upstream.endpoints[0].place.standing.is_out(now));
}

#[tokio::test]
async fn retries_are_as_many_as_the_configuration_and_the_budget_allow() {
    for (rest, answered) in [
        ("", 8),
        ("retries = 0", 4),
        ("retry_budget = { percent = 0, min_per_second = 0 }", 4),
        ("retry_budget = { percent = 25, min_per_second = 0 }", 6),
    ] {
        let (works, _) = scripted(&[OK]).await;
        let rest = format!("{TURNS}\nejection = {{ after = 0 }}\n{rest}");
        let upstream = upstream(&[works, closed().await], &rest);

        let sent = send_many(&upstream, 8).await;

        assert!(sent.abs_diff(answered) <= 1, "{rest}: {sent}");
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_to_another_endpoint_when_a_fresh_connection_is_closed() {
    let slams = upstream_of(|_, mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    for (method, body, again) in [
        (Method::GET, Body::Empty, true),
        (Method::DELETE, Body::Empty, true),
        (Method::POST, Body::Empty, false),
        (Method::PUT, Body::text("x"), false),
    ] {
        let (works, seen) = scripted(&[OK]).await;
        let upstream = upstream(&[slams, works], "");
        prefer_the_first(&upstream);

        let answer = send(&upstream, request(method.clone(), body)).await;

        match again {
            true => assert!(answer.is_ok(), "{method}: {answer:?}"),
            // It is the endpoint that has failed, and not the client's body that cannot be read a second time.
            false => assert!(
                matches!(answer, Err(UpstreamError::Broken(_))),
                "{method}: {answer:?}"
            ),
        }
        assert_eq!(seen.requests().len(), usize::from(again), "{method}");
    }
}

/// The first of these endpoints fails a request when some of its body has come; the second, which has `seen` what it got, is
/// not asked then.
pub(super) async fn a_body_that_was_begun_is_lost(upstream: Upstream, seen: &Seen) {
    prefer_the_first(&upstream);
    let front = front(upstream, 100, timeouts(5000)).await;

    let head = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = talk(front, &format!("{head}1\r\nx\r\n")).await;

    assert_eq!(status(&mut client).await, "502");
    assert!(seen.requests().is_empty());
}

#[tokio::test]
async fn a_body_of_which_some_has_left_is_never_begun_anew_at_another_endpoint() {
    let slams = upstream_of(|_, mut stream| async move {
        read_until(&mut stream, b"1\r\nx").await;
    })
    .await;
    let (works, seen) = scripted(&[OK]).await;
    let upstream = upstream(&[slams, works], "");

    a_body_that_was_begun_is_lost(upstream, &seen).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_again_at_once_is_left_out_twice_as_long_up_to_a_bound() {
    let rest = "ejection = { after = 1, time = '1s', max_time = '3s' }";
    let upstream = upstream(&[closed().await, closed().await], rest);
    let place = &upstream.endpoints[0].place;
    let (mut now, moment) = (Instant::now(), Duration::from_millis(1));
    for seconds in [1, 2, 3, 3] {
        let time = Duration::from_secs(seconds);

        assert!(upstream.service.failed(place, now), "{seconds}");

        assert!(place.standing.is_out(now + time - moment), "{seconds}");
        now += time + moment;
        assert!(!place.standing.is_out(now), "{seconds}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_no_failure_of_its_endpoint() {
    let closing = || {
        upstream_of(|_, mut stream| async move {
            read_head(&mut stream).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Closed at the very moment when it is used again.
            read_head(&mut stream).await;
        })
    };
    let rest = format!("{TURNS}\nejection = {{ after = 1, time = '1h' }}");
    let upstream = upstream(&[closing().await, closing().await], &rest);

    assert_eq!(send_many(&upstream, 8).await, 8);

    assert!(upstream.cells.retries.get() > 0, "none was reused");
    assert_eq!(upstream.cells.ejections.get(), 0);
}

#[tokio::test]
async fn what_a_client_does_wrong_is_no_failure_of_an_endpoint() {
    let (one, _) = scripted(&[Answer::Silence]).await;
    let (two, _) = scripted(&[Answer::Silence]).await;
    let rest = format!("{TURNS}\nejection = {{ after = 1, time = '1h' }}");
    let upstream = upstream(&[one, two], &rest);
    let cells = Arc::clone(&upstream.cells);
    let front = front(upstream, 8, timeouts(200)).await;
    let large = "transfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n";

    for (request, refused) in [(large, "413"), ("content-length: 8\r\n\r\nhalf", "400")] {
        let mut client = talk(front, &format!("POST / HTTP/1.1\r\nhost: a\r\n{request}")).await;
        assert_eq!(status(&mut client).await, refused);
    }
    assert_eq!(cells.ejections.get(), 0);

    status(&mut talk(front, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
    assert_eq!(cells.ejections.get(), 1, "but silence is");
}

#[tokio::test]
async fn a_host_of_the_endpoints_own_is_that_of_the_endpoint_that_gets_the_request() {
    let (works, seen) = scripted(&[OK]).await;
    let rest = format!("{TURNS}\nhost = 'endpoint'");
    let upstream = upstream(&[closed().await, works], &rest);

    assert_eq!(send_many(&upstream, 4).await, 4);

    let host = format!("host: {works}\r\n");
    assert!(seen.requests().iter().all(|head| head.contains(&host)));
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once_or_waits_or_goes_elsewhere() {
    let (held, _) = scripted(&[Answer::Keep(
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf",
    )])
    .await;
    let (free, seen) = scripted(&[OK]).await;

    let full = upstream(&[held], "max_connections = 1\nmax_pending = 0");
    let first = send(&full, get()).await.unwrap();
    // What is here as a whole is not under way any more.
    drop(first);
    let silent = scripted(&[Answer::Silence]).await.0;
    let full = Arc::new(upstream(&[silent], "max_connections = 1\nmax_pending = 0"));
    let waits = Arc::clone(&full);
    let under_way = tokio::spawn(async move { send(&waits, get()).await });
    while full.endpoints[0].busy() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = send(&full, get()).await;
    assert!(matches!(refused, Err(UpstreamError::Busy)), "{refused:?}");

    under_way.abort();
    under_way.await.unwrap_err();
    let patient = upstream(&[free], "max_connections = 1\nqueue_timeout = '10s'");
    let (one, two) = tokio::join!(send_many(&patient, 3), send_many(&patient, 3));
    assert_eq!((one, two, seen.connections()), (3, 3, 1));

    let elsewhere = upstream(&[silent, free], "max_connections = 1\nmax_pending = 0");
    let mut stuck = std::pin::pin!(elsewhere.endpoints[0].gate.enter());
    let _taken = tokio::time::timeout(PATIENCE, stuck.as_mut())
        .await
        .unwrap();
    assert_eq!(send_many(&elsewhere, 10).await, 10);
}

#[tokio::test]
async fn a_tunnel_counts_as_a_request_until_it_ends() {
    let (address, _) = scripted(&[Answer::Keep(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )])
    .await;
    let rest = "max_connections = 1\nmax_pending = 0";
    let front = front(upstream(&[address], rest), 100, timeouts(5000)).await;

    let mut tunnel = talk(front, UPGRADE).await;
    assert_eq!(status(&mut tunnel).await, "101");
    assert_eq!(status(&mut talk(front, UPGRADE).await).await, "503");

    drop(tunnel);
    let again = async {
        while status(&mut talk(front, UPGRADE).await).await != "101" {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, again).await.is_ok());
}

#[tokio::test]
async fn all_of_a_request_ends_with_its_total_timeout() {
    let total = |millis| Timeouts {
        total: Some(value::Duration::from_millis(millis)),
        ..timeouts(60_000)
    };
    let (silent, _) = scripted(&[Answer::Silence]).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let answers: &'static [Answer] = Box::leak(Box::new([Answer::Keep(head)]));
    let (half, _) = scripted(answers).await;

    let late = upstream(&[silent], "")
        .send(parcel(get(), None, total(100)))
        .await;
    let begun = upstream(&[half], "")
        .send(parcel(get(), None, total(500)))
        .await;

    assert!(matches!(late, Err(UpstreamError::TotalTimeout)), "{late:?}");
    let cut = read(begun.unwrap().into_body()).await.unwrap_err();
    assert!(cut.to_string().contains("total timeout"), "{cut}");
}

#[tokio::test]
async fn the_requests_of_a_user_meet_at_one_endpoint() {
    let (one, seen_one) = scripted(&[OK]).await;
    let (two, seen_two) = scripted(&[OK]).await;
    let upstream = upstream(&[one, two], "balance = 'user'");
    let by = |sender: Sender| Parcel {
        sender: Some(sender),
        ..parcel(get(), None, timeouts(5000))
    };
    let mut homes = Vec::new();

    for user in 0..16 {
        let before = seen_one.requests().len();
        for _ in 0..3 {
            let sender = match user % 2 {
                0 => Sender::User(format!("user-{user}").into()),
                _ => Sender::Client(std::net::Ipv4Addr::new(10, 0, 0, user).into()),
            };
            let answer = upstream.send(by(sender)).await.unwrap();
            read(answer.into_body()).await.unwrap();
        }
        homes.push(seen_one.requests().len() - before);
    }

    assert!(
        homes.iter().all(|asked| [0, 3].contains(asked)),
        "{homes:?}"
    );
    // Not all of one kind at the same.
    for kind in 0..2 {
        let mut homes = homes.iter().skip(kind).step_by(2);
        assert!(homes.clone().any(|asked| *asked == 0) && homes.any(|asked| *asked == 3));
    }
    assert_eq!(seen_one.requests().len() + seen_two.requests().len(), 48);
}
