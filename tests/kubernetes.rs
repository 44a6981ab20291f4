//! What `deploy/kubernetes` and `deploy/helm` make of themselves: rendered by kustomize and Helm, valid by the schemas of
//! everything in it, and in agreement with the gateway's configuration and its image.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::installed;

/// All of them; `tests/run.sh` installs what renders and knows them.
const OVERLAYS: [&str; 8] = [
    "overlays/standalone",
    "overlays/sidecar",
    "overlays/forward-auth/traefik",
    "overlays/forward-auth/envoy-gateway",
    "overlays/forward-auth/gateway-api",
    "overlays/forward-auth/haproxy-ingress",
    CHART,
    // Everything the other way round.
    "../helm#{\"serviceMonitor\":true,\"networkPolicy\":false,\"autoscaling\":{\"enabled\":false},\"image\":{\"tag\":\"x\"},\
     \"service\":{\"type\":\"ClusterIP\",\"annotations\":{\"a/b\":\"c\"}}}",
];

const CHART: &str = "../helm";

const NOT_HERE: &str = "SKIPPED: kustomize comes as a library for Linux on x86-64 only, so nothing is proven about deploy/kubernetes and deploy/helm";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What each of these folders comes to, checked against the schemas of Kubernetes.
fn rendered(folders: &[&str]) -> Option<BTreeMap<String, Vec<Value>>> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        eprintln!("{NOT_HERE}");
        return None;
    }
    let output = render(folders);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn render(folders: &[&str]) -> Output {
    Command::new(installed("kubernetes-1.37.0/bin/python"))
        .arg(root().join("tests/kubernetes.py"))
        .args(folders)
        .current_dir(root().join("deploy/kubernetes"))
        .output()
        .unwrap()
}

fn kind<'a>(things: &'a [Value], kind: &str) -> Vec<&'a Value> {
    things
        .iter()
        .filter(|thing| thing["kind"] == kind)
        .collect()
}

/// The pod that has a gateway, and the gateway in it.
fn gateway(things: &[Value]) -> (&Value, &Value) {
    let deployments = kind(things, "Deployment");
    let [deployment] = deployments.as_slice() else {
        panic!("{deployments:?}")
    };
    let pod = &deployment["spec"]["template"]["spec"];
    let of = |list: &str| pod[list].as_array().into_iter().flatten();
    let mut all = of("containers").chain(of("initContainers"));
    let gateway = all.find(|container| container["name"] == "drawbridge");
    (pod, gateway.expect("there is a gateway in it"))
}

fn text(things: &[Value]) -> String {
    let maps = kind(things, "ConfigMap");
    let [map] = maps.as_slice() else {
        panic!("{maps:?}")
    };
    map["data"]["gateway.toml"].as_str().unwrap().to_owned()
}

fn toml(things: &[Value]) -> toml::Table {
    text(things).parse().unwrap()
}

fn seconds(length: &toml::Value) -> u64 {
    let length = length.as_str().unwrap();
    humantime::parse_duration(length).unwrap().as_secs()
}

/// The port at the end of an address.
fn port(address: &toml::Value) -> u64 {
    let address = address.as_str().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Ports of the listeners in the order of the file, and that of the metrics.
fn ports(config: &toml::Table) -> (Vec<u64>, u64) {
    let listeners = config["listeners"].as_array().unwrap().iter();
    let listeners = listeners.map(|one| port(&one["address"])).collect();
    (listeners, port(&config["metrics"]["listen"]))
}

#[test]
#[ignore = "needs kustomize: tests/run.sh"]
fn everything_of_others_is_valid_by_their_schemas() {
    let monitored = tempfile::tempdir_in(root().join("deploy/kubernetes/overlays")).unwrap();
    let name = monitored.path().file_name().unwrap().to_str().unwrap();
    std::fs::write(
        monitored.path().join("kustomization.yaml"),
        "resources: [../standalone]\ncomponents: [../../components/service-monitor]\n",
    )
    .unwrap();
    let with_monitor = format!("overlays/{name}");
    let folders: Vec<_> = OVERLAYS
        .into_iter()
        .chain([with_monitor.as_str()])
        .collect();
    let Some(rendered) = rendered(&folders) else {
        return;
    };
    let foreign = |thing: &&Value| {
        let version = thing["apiVersion"].as_str().unwrap();
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let native = !group.contains('.') || group.ends_with(".k8s.io");
        !native || group == "gateway.networking.k8s.io"
    };
    let things: Vec<_> = rendered.values().flatten().filter(foreign).collect();
    let kinds: BTreeSet<_> = things
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    let expected = [
        "HTTPRoute",
        "IngressRoute",
        "Middleware",
        "ReferenceGrant",
        "SecurityPolicy",
        "ServiceMonitor",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));

    // Node looks for modules beside the file only.
    let models = installed("kubernetes-models/node_modules");
    let script = models.parent().unwrap().join("kubernetes.mjs");
    std::fs::copy(root().join("tests/kubernetes.mjs"), &script).unwrap();
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input
        .write_all(serde_json::to_string(&things).unwrap().as_bytes())
        .unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        things.len().to_string()
    );
}

#[test]
#[ignore = "needs kustomize: tests/run.sh"]
fn the_chart_is_what_the_overlay_is_and_refuses_what_it_does_not_know() {
    let Some(rendered) = rendered(&["overlays/standalone", CHART]) else {
        return;
    };
    let of = |place: &str| {
        let things = rendered[place]
            .iter()
            .filter(|thing| thing["kind"] != "Namespace");
        let named = things.map(|thing| {
            (
                thing["kind"].as_str().unwrap(),
                thing["metadata"]["name"].as_str().unwrap(),
            )
        });
        // kustomize's ends with a hash.
        let named = named.map(|(kind, name)| {
            (
                kind,
                if kind == "ConfigMap" {
                    "drawbridge"
                } else {
                    name
                },
            )
        });
        named.collect::<BTreeSet<_>>()
    };
    assert_eq!(of(CHART), of("overlays/standalone"));
    let pod = |place: &str| {
        let (pod, gateway) = gateway(&rendered[place]);
        let mut mounts: Vec<_> = gateway["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        mounts.sort();
        let alike = [
            "args",
            "ports",
            "startupProbe",
            "livenessProbe",
            "readinessProbe",
            "lifecycle",
            "resources",
            "securityContext",
        ];
        let alike = alike.map(|name| gateway[name].clone());
        (
            alike,
            mounts,
            pod["securityContext"].clone(),
            pod["terminationGracePeriodSeconds"].clone(),
        )
    };
    assert_eq!(pod(CHART), pod("overlays/standalone"));

    for (values, fault) in [
        (
            "{\"replica\":3}",
            "additional properties 'replica' not allowed",
        ),
        (
            "{\"image\":{\"repo\":\"x\"}}",
            "additional properties 'repo' not allowed",
        ),
        ("{\"config\":\"\"}", "minLength"),
        (
            "{\"service\":{\"type\":\"Loadbalancer\"}}",
            "value must be one of",
        ),
    ] {
        let output = render(&[&format!("{CHART}#{values}")]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{values}");
        assert!(told.contains(fault), "{values}: {told}");
    }
}

#[test]
#[ignore = "needs kustomize: tests/run.sh"]
fn every_gateway_toml_passes_drawbridge_check() {
    let Some(rendered) = rendered(&OVERLAYS) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().display().to_string();
    let certified = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    for (folder, file, content) in [
        ("tls", "tls.crt", certified.cert.pem()),
        ("tls", "tls.key", certified.signing_key.serialize_pem()),
        (
            "assertion",
            "key.pem",
            certified.signing_key.serialize_pem(),
        ),
        ("redis", "password", "x".to_owned()),
    ] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join(file), content).unwrap();
    }
    for (overlay, things) in &rendered {
        let mounts = gateway(things).1["volumeMounts"].as_array().unwrap().iter();
        let mounts: Vec<_> = mounts
            .map(|mount| mount["mountPath"].as_str().unwrap())
            .collect();
        let text = text(things);
        for named in text.split("/run/secrets/").skip(1) {
            let folder = format!("/run/secrets/{}", named.split('/').next().unwrap());
            assert!(
                mounts.contains(&folder.as_str()),
                "{overlay}: nothing is mounted at {folder}"
            );
        }
        let path = dir.path().join("gateway.toml");
        std::fs::write(&path, text.replace("/run/secrets", &secrets)).unwrap();

        let output = Command::new(env!("CARGO_BIN_EXE_drawbridge"))
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .unwrap();

        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{overlay}: {told}");
        // What is left to warn about is that others reach it in the clear within the cluster. TLS ends at the proxy that asks.
        for warning in told.lines().filter(|line| line.starts_with("warning")) {
            let asked = overlay.contains("forward-auth") && warning.contains("no listener has TLS");
            assert!(
                asked || warning.contains("in the clear"),
                "{overlay}: {warning}"
            );
        }
    }
}

#[test]
#[ignore = "needs kustomize: tests/run.sh"]
fn pods_agree_with_the_configuration_and_the_image() {
    let Some(rendered) = rendered(&OVERLAYS) else {
        return;
    };
    let dockerfile = std::fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let said = |word: &str| {
        let mut lines = dockerfile
            .lines()
            .filter_map(|line| line.strip_prefix(word));
        lines.next_back().unwrap().trim().to_owned()
    };
    let user: u64 = said("USER ").split(':').next().unwrap().parse().unwrap();
    assert_eq!(said("ENTRYPOINT "), "[\"drawbridge\"]");
    let command: Vec<String> = serde_json::from_str(&said("CMD ")).unwrap();
    let folder = Path::new(command.last().unwrap())
        .parent()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let exposed: u64 = said("EXPOSE ").parse().unwrap();

    for (overlay, things) in &rendered {
        let (pod, gateway) = gateway(things);
        let config = toml(things);

        assert_eq!(gateway["args"], serde_json::json!(command), "{overlay}");
        let mounts = gateway["volumeMounts"].as_array().unwrap();
        let volume = mounts
            .iter()
            .find(|mount| mount["mountPath"] == folder.as_str())
            .unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes
            .iter()
            .find(|one| one["name"] == volume["name"])
            .unwrap();
        assert_eq!(
            volume["configMap"]["name"],
            kind(things, "ConfigMap")[0]["metadata"]["name"],
            "{overlay}"
        );
        for mount in mounts {
            assert_eq!(mount["readOnly"], true, "{overlay}");
            assert_eq!(
                mount["subPath"],
                Value::Null,
                "a file of its own never changes: {overlay}"
            );
        }

        let own = &gateway["securityContext"];
        let of = |name: &str| match &own[name] {
            Value::Null => pod["securityContext"][name].clone(),
            own => own.clone(),
        };
        assert_eq!(of("runAsUser"), user, "{overlay}");
        assert_eq!(of("runAsNonRoot"), true, "{overlay}");
        assert_eq!(of("seccompProfile")["type"], "RuntimeDefault", "{overlay}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{overlay}");
        assert_eq!(own["allowPrivilegeEscalation"], false, "{overlay}");
        assert_eq!(
            own["capabilities"]["drop"],
            serde_json::json!(["ALL"]),
            "{overlay}"
        );

        let (listeners, metrics) = ports(&config);
        let open = gateway["ports"].as_array().unwrap().iter();
        let open: BTreeMap<_, _> = open
            .map(|one| {
                (
                    one["name"].as_str().unwrap(),
                    one["containerPort"].as_u64().unwrap(),
                )
            })
            .collect();
        let served: BTreeSet<_> = listeners.iter().copied().chain([metrics]).collect();
        assert_eq!(
            open.values().copied().collect::<BTreeSet<_>>(),
            served,
            "{overlay}"
        );
        assert_eq!(open["metrics"], metrics, "{overlay}");
        if let Some(https) = open.get("https") {
            assert_eq!(*https, exposed, "{overlay}");
        }
        for service in kind(things, "Service") {
            for port in service["spec"]["ports"].as_array().unwrap() {
                let name = port["targetPort"].as_str().unwrap();
                assert!(open.contains_key(name), "{overlay}: {service}");
            }
        }
        for (probe, path) in [
            ("startupProbe", "/live"),
            ("livenessProbe", "/live"),
            ("readinessProbe", "/ready"),
        ] {
            assert_eq!(gateway[probe]["httpGet"]["path"], path, "{overlay}");
            assert_eq!(gateway[probe]["httpGet"]["port"], "metrics", "{overlay}");
        }

        let server = &config["server"];
        let drain = seconds(&server["drain_delay"]) + seconds(&server["drain_timeout"]);
        let before = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
            .as_u64()
            .unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert_eq!(grace, before + drain + 5, "{overlay}");
    }
}

#[test]
#[ignore = "needs kustomize: tests/run.sh"]
fn whoever_asks_is_told_everything_and_nobody_else_may_ask() {
    let Some(rendered) = rendered(&OVERLAYS) else {
        return;
    };
    let identity = [
        "x-user-id",
        "x-user-permissions",
        "x-user-roles",
        "x-device-id",
        "x-device-type",
        "x-actor-id",
        "x-drawbridge-assertion",
    ];
    let all = |list: &[String]| {
        identity
            .iter()
            .all(|name| list.iter().any(|one| one.eq_ignore_ascii_case(name)))
    };
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    for (overlay, things) in rendered
        .iter()
        .filter(|(overlay, _)| overlay.contains("forward-auth"))
    {
        let config = toml(things);
        let door = &config["listeners"][0];
        let (port, asks) = (port(&door["address"]), &door["forward_auth"]);
        let policy = kind(things, "NetworkPolicy")[0];
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        let mut asking = rules
            .iter()
            .filter(|rule| rule["ports"][0]["port"] == "ask");
        let from = &asking.next().expect("somebody may ask")["from"][0];
        assert_eq!(
            from["namespaceSelector"]["matchLabels"]["drawbridge/asks"], "true",
            "{overlay}"
        );
        assert!(
            asking.next().is_none() && rules.iter().all(|rule| rule["ports"].is_array()),
            "{overlay}"
        );

        match asks["proxy"].as_str().unwrap() {
            "traefik" => {
                let middlewares = kind(things, "Middleware");
                let forward = &middlewares
                    .iter()
                    .find(|one| one["metadata"]["name"] == "drawbridge")
                    .unwrap()["spec"]["forwardAuth"];
                assert!(
                    forward["address"]
                        .as_str()
                        .unwrap()
                        .ends_with(&format!(":{port}/"))
                );
                assert_eq!(forward["trustForwardHeader"], false);
                assert!(all(&words(&forward["authResponseHeaders"])));
            }
            "envoy-grpc" => {
                let asks = &kind(things, "SecurityPolicy")[0]["spec"]["extAuth"];
                assert_eq!(asks["failOpen"], false);
                assert_eq!(asks["grpc"]["backendRefs"][0]["port"], port);
            }
            "gateway-api" => {
                let route = kind(things, "HTTPRoute")[0];
                let filter = &route["spec"]["rules"][0]["filters"][0]["externalAuth"];
                assert_eq!(filter["backendRef"]["port"], port);
                assert_eq!(
                    filter["http"]["path"].as_str(),
                    asks["path_prefix"].as_str()
                );
                assert!(all(&words(&filter["http"]["allowedResponseHeaders"])));
            }
            "haproxy" => {
                let told = &kind(things, "Ingress")[0]["metadata"]["annotations"];
                let told = |name: &str| {
                    told[format!("haproxy-ingress.github.io/{name}")]
                        .as_str()
                        .unwrap()
                        .to_owned()
                };
                let service = &kind(things, "Service")[0]["spec"]["ports"][0];
                assert_eq!(service["port"], port);
                let target = service["targetPort"].as_str().unwrap();
                assert!(told("auth-url").ends_with(&format!(":{target}/")));
                let names = |name: &str| -> Vec<String> {
                    told(name).split(',').map(str::to_owned).collect()
                };
                let (asked, passed) =
                    (names("auth-headers-request"), names("auth-headers-succeed"));
                assert!(all(&passed));
                // The script compares them with small letters.
                for name in asked.iter().chain(&passed) {
                    assert_eq!(*name, name.to_lowercase());
                }
                for header in ["Method", "Proto", "Host", "Uri", "For"] {
                    let line = format!("http-request set-header X-Forwarded-{header} ");
                    assert!(told("config-backend-early").contains(&line));
                    let name = format!("x-forwarded-{header}").to_lowercase();
                    assert!(asked.contains(&name), "{name}");
                }
                for source in config["tokens"]["sources"].as_array().unwrap() {
                    let header = match source.as_str().unwrap().split_once(':') {
                        None => "authorization",
                        Some(("cookie", _)) => "cookie",
                        Some((_, name)) => name,
                    };
                    assert!(asked.iter().any(|name| name == header), "{header}");
                }
                assert!(
                    !asked
                        .iter()
                        .any(|name| name == "connection" || name.contains('*'))
                );
                let late = told("config-backend-late");
                assert_eq!(late.trim(), "http-request del-header Authorization");
            }
            other => panic!("{other}"),
        }
    }
}
