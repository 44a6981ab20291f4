use super::*;

fn lines(metrics: &Arc<Metrics>) -> Vec<String> {
    metrics.render().lines().map(str::to_owned).collect()
}

#[test]
fn what_the_workers_count_is_summed_by_name() {
    let metrics = Metrics::new(2);
    for number in 0..2 {
        let worker = metrics.worker(number);
        let route = worker.route("orders");
        route.forwarded.add(2);
        route.refused.one(401, "token_missing");
        route.refused.one(403, "permission_denied");
        route.refused.one(503, "store_unavailable");
        route.refused.one(502, "bad_gateway");
        route.refused.one(431, "head_too_large");
        route.time.took(std::time::Duration::from_micros(300));
        worker.upstream("app").answered(204);
        worker.clients.open.up();
    }

    let text = lines(&metrics);

    for expected in [
        "drawbridge_requests_total{route=\"orders\",outcome=\"forwarded\",reason=\"\"} 4",
        "drawbridge_requests_total{route=\"orders\",outcome=\"unauthenticated\",reason=\"token_missing\"} 2",
        "drawbridge_requests_total{route=\"orders\",outcome=\"forbidden\",reason=\"permission_denied\"} 2",
        "drawbridge_requests_total{route=\"orders\",outcome=\"unavailable\",reason=\"store_unavailable\"} 2",
        "drawbridge_requests_total{route=\"orders\",outcome=\"failed\",reason=\"bad_gateway\"} 2",
        "drawbridge_requests_total{route=\"orders\",outcome=\"rejected\",reason=\"head_too_large\"} 2",
        "drawbridge_request_duration_seconds_bucket{le=\"0.00025\",route=\"orders\"} 0",
        "drawbridge_request_duration_seconds_bucket{le=\"0.0005\",route=\"orders\"} 2",
        "drawbridge_request_duration_seconds_bucket{le=\"+Inf\",route=\"orders\"} 2",
        "drawbridge_upstream_answers_total{upstream=\"app\",status=\"2xx\"} 2",
        "drawbridge_client_connections_open 2",
        "# EOF",
    ] {
        assert!(
            text.iter().any(|line| line == expected),
            "{expected} is not in {text:#?}"
        );
    }
}

#[test]
fn a_name_that_stays_keeps_its_numbers_and_one_that_goes_is_forgotten() {
    let metrics = Metrics::new(1);
    let worker = metrics.worker(0);
    let kept = worker.route("kept");
    kept.forwarded.one();
    worker.route("gone").forwarded.one();

    worker.forget_unused();
    worker.route("kept").forwarded.one();

    let text = metrics.render();
    assert!(
        text.contains("{route=\"kept\",outcome=\"forwarded\",reason=\"\"} 2"),
        "{text}"
    );
    assert!(!text.contains("gone"), "{text}");
}
