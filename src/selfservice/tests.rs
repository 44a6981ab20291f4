use super::*;

fn service(more: &str) -> SelfService {
    let text = format!(
        "routes = []\n[[listeners]]\naddress = '127.0.0.1:0'\n[store]\nembedded = 's'\n[upstreams]\n\
         [self_service]\nprefix = '/.d'\n{more}"
    );
    SelfService::build(&toml::from_str(&text).unwrap())
        .unwrap()
        .unwrap()
}

#[test]
fn everything_below_the_prefix_is_ours_and_nothing_else() {
    let service = service("");
    for (path, ours) in [
        ("/.d", true),
        ("/.d/", true),
        ("/.d/sessions", true),
        ("/.d/anything", true),
        ("/.dx", false),
        ("/.D/sessions", false),
        ("/x/.d/sessions", false),
        ("/", false),
    ] {
        assert_eq!(service.covers(path), ours, "{path}");
    }
}

#[test]
fn each_endpoint_has_its_method_and_what_is_switched_off_is_not_there() {
    let off = service("");
    let on = service(
        "[sso]\nhome = 'https://h.example'\norigins = []\n[[oidc]]\nissuer = 'i'\naudience = 'a'\njwks = 'https://i.example/k'",
    );
    let at = |service: &SelfService, method: &str, path: &str| {
        service.endpoint(path, &method.parse().unwrap())
    };
    for (method, path, endpoint) in [
        ("GET", "/.d/sessions", Endpoint::List),
        ("HEAD", "/.d/sessions", Endpoint::List),
        ("DELETE", "/.d/sessions", Endpoint::EndOthers),
        (
            "DELETE",
            "/.d/sessions/abc",
            Endpoint::End("abc".to_owned()),
        ),
        ("POST", "/.d/refresh", Endpoint::Refresh),
        ("POST", "/.d/logout", Endpoint::Logout),
        ("POST", "/.d/redeem", Endpoint::Redeem),
    ] {
        assert_eq!(at(&off, method, path), Ok(endpoint), "{method} {path}");
    }
    for (method, path, endpoint) in [
        ("GET", "/.d/sso", Endpoint::SingleSignOn),
        ("GET", "/.d/sso/accept", Endpoint::Accept),
        ("POST", "/.d/backchannel-logout", Endpoint::BackChannel),
    ] {
        assert_eq!(at(&on, method, path), Ok(endpoint), "{path}");
        assert_eq!(at(&off, method, path), Err(RouteError::NotFound), "{path}");
    }
    for path in [
        "/.d",
        "/.d/",
        "/.d/x",
        "/.d/sessions/",
        "/.d/sessions/a/b",
        "/.d/refresh/",
    ] {
        assert_eq!(at(&on, "GET", path), Err(RouteError::NotFound), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/.d/sessions", vec![Method::GET, Method::DELETE]),
        ("GET", "/.d/logout", vec![Method::POST]),
        ("GET", "/.d/refresh", vec![Method::POST]),
        ("POST", "/.d/sso", vec![Method::GET]),
        ("GET", "/.d/sessions/abc", vec![Method::DELETE]),
    ] {
        assert_eq!(at(&on, method, path), Err(RouteError::Method { allow }));
    }
}
