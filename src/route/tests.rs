use http::HeaderValue;

use super::*;
use crate::headers::Rewrite;

/// The compiled routes of a table of `name host path-kind path methods`.
fn routes(lines: &[&str]) -> Routes {
    let mut toml =
        "listeners = [{ address = '127.0.0.1:0' }]\nstore = { embedded = 'x' }\n".to_owned();
    toml.push_str("[upstreams.app]\nendpoints = ['http://127.0.0.1:9']\n");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, host, kind, path, methods] = words.as_slice() else {
            panic!("{line}")
        };
        toml.push_str(&format!(
            "[[routes]]\nname = '{name}'\nupstream = 'app'\n{kind} = '{path}'\n"
        ));
        if *host != "-" {
            toml.push_str(&format!("host = '{host}'\n"));
        }
        if *methods != "-" {
            let methods: Vec<String> = methods
                .split(',')
                .map(|method| format!("'{method}'"))
                .collect();
            toml.push_str(&format!("methods = [{}]\n", methods.join(",")));
        }
    }
    let config: Config = toml::from_str(&toml).unwrap();
    let upstreams = Upstreams::build(
        &config.upstreams,
        &crate::upstream::Services::default(),
        &crate::metrics::Worker::default(),
    )
    .unwrap();
    Routes::build(&config, &upstreams, None)
}

fn found(routes: &Routes, host: &str, path: &str, method: &str) -> String {
    match routes.find(host, path, &method.parse().unwrap()) {
        Ok(route) => route.name.to_string(),
        Err(RouteError::NotFound) => "404".to_owned(),
        Err(RouteError::Method { allow }) => {
            format!(
                "405 {}",
                allow
                    .iter()
                    .map(Method::as_str)
                    .collect::<Vec<_>>()
                    .join(",")
            )
        }
    }
}

#[test]
fn host_then_path_then_method_decide() {
    let routes = routes(&[
        "root - prefix / -",
        "admin - prefix /admin/ GET,POST",
        "admin-delete - prefix /admin DELETE",
        "login - exact /login -",
        "api api.example prefix /v1 -",
        "api-health api.example exact /v1/health GET",
        "shop *.shop.example prefix / -",
        "vip vip.shop.example prefix /vip -",
    ]);
    let cases = [
        ("any", "/", "GET", "root"),
        ("any", "/administrator", "GET", "root"),
        ("any", "/admin", "GET", "admin"),
        ("any", "/admin/", "POST", "admin"),
        ("any", "/admin/x/y", "DELETE", "admin-delete"),
        ("any", "/admin/x", "PUT", "405 GET,POST,DELETE"),
        ("any", "/login", "POST", "login"),
        ("any", "/login/", "POST", "root"),
        ("any", "/ADMIN", "GET", "root"),
        ("api.example", "/v1/users", "GET", "api"),
        ("api.example", "/v1/health", "GET", "api-health"),
        ("api.example", "/v1/health", "HEAD", "api-health"),
        ("api.example", "/v1/health", "POST", "405 GET"),
        ("api.example", "/other", "GET", "root"),
        ("a.shop.example", "/x", "GET", "shop"),
        ("a.b.shop.example", "/x", "GET", "root"),
        ("shop.example", "/x", "GET", "root"),
        ("vip.shop.example", "/vip/x", "GET", "vip"),
        ("vip.shop.example", "/x", "GET", "shop"),
    ];

    for (host, path, method, expected) in cases {
        assert_eq!(
            found(&routes, host, path, method),
            expected,
            "{method} {host}{path}"
        );
    }
}

#[test]
fn without_a_rule_there_is_no_door() {
    let routes = routes(&["api api.example prefix /v1 -"]);

    for (host, path) in [
        ("api.example", "/"),
        ("api.example", "/v"),
        ("other", "/v1"),
        ("xapi.example", "/v1"),
    ] {
        assert_eq!(found(&routes, host, path, "GET"), "404", "{host}{path}");
    }
}

#[test]
fn a_prefix_is_taken_off_on_segment_borders() {
    let cases = [
        ("/api", "", "/api/x", "/x"),
        ("/api", "", "/api", "/"),
        ("/api", "", "/api/", "/"),
        ("/api", "/v2", "/api/x", "/v2/x"),
        ("", "/v2", "/x", "/v2/x"),
        ("/api", "/v2", "/api", "/v2"),
    ];

    for (from, to, path, expected) in cases {
        let rewrite = Rewrite {
            from: from.to_owned(),
            to: to.to_owned(),
            prefix: HeaderValue::from_static("/"),
        };
        assert_eq!(rewrite.apply(path), expected, "{from} to {to}: {path}");
    }
}
