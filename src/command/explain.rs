//! `drawbridge explain`: what would become of a request, and why.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use http::{HeaderName, HeaderValue, Request, Uri};

use super::Verdict;
use super::opened::opened;
use crate::config::Config;
use crate::gateway::{Gateway, Shared};
use crate::peer::{HostScope, Peer, TlsPeer};

/// The request to explain.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Its URL, with scheme and host.
    pub url: String,
    /// Its token, put where the route looks first.
    pub token: Option<String>,
    /// Further headers, each `Name: value`.
    pub headers: Vec<String>,
    /// Where it comes from.
    pub from: IpAddr,
}

/// Answers the question on `out`: done if the request would be forwarded. A question that makes no sense and a store that
/// cannot be opened are told on `err`.
///
/// # Errors
/// If there is no gateway of this configuration, or writing failed.
pub async fn run(
    config: &Config,
    question: &Question,
    (out, err): (&mut (dyn Write + Send), &mut (dyn Write + Send)),
) -> anyhow::Result<Verdict> {
    let (request, peer) = match ask(question) {
        Ok(asked) => asked,
        Err(error) => return Verdict::Usage.because(&error, err),
    };
    let store = opened(config).await.context("the store cannot be opened");
    let store = match store {
        Ok(store) => store,
        Err(error) => return Verdict::CannotTell.because(&error, err),
    };
    let gateway =
        Gateway::build(config, store, Shared::default(), Arc::default()).map_err(|faults| {
            anyhow::anyhow!(
                "{}",
                faults
                    .iter()
                    .map(|fault| fault.message.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            )
        })?;
    let explanation = gateway
        .explain(request, question.token.as_deref(), &peer)
        .await;
    out.write_all(explanation.text.as_bytes())?;
    Ok(explanation.allowed.into())
}

/// The request as it would arrive, and who would be on the line.
fn ask(question: &Question) -> anyhow::Result<(Request<()>, Peer)> {
    let url: Uri = question
        .url
        .parse()
        .with_context(|| format!("`{}` is not a URL", question.url))?;
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        anyhow::bail!(
            "`{}` is not a whole URL; write it with scheme and host, such as https://shop.example/orders",
            question.url
        );
    };
    anyhow::ensure!(
        matches!(scheme, "http" | "https"),
        "`{scheme}` is not a scheme; write http or https"
    );
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder()
        .method(question.method.as_str())
        .uri(target)
        .header(http::header::HOST, authority.as_str())
        .body(())
        .with_context(|| format!("`{} {target}` is not a request", question.method))?;
    for line in &question.headers {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("`{line}` is not a header; write \"Name: value\""))?;
        let name: HeaderName = name
            .trim()
            .parse()
            .with_context(|| format!("`{name}` is not a header name"))?;
        let value: HeaderValue = value
            .trim()
            .parse()
            .with_context(|| format!("the value of `{name}` is not a header value"))?;
        request.headers_mut().append(name, value);
    }
    let secure = scheme == "https";
    let port = authority
        .port_u16()
        .unwrap_or(if secure { 443 } else { 80 });
    let tls = secure.then(|| TlsPeer {
        server_name: None,
        client: None,
        hsts: None,
        scope: Arc::new(AnyHost),
    });
    let from = SocketAddr::new(question.from, 0);
    let peer = Peer::new(from, SocketAddr::new(question.from, port), tls);
    Ok((request, peer))
}

/// Certificates are not part of the question.
#[derive(Debug)]
struct AnyHost;

impl HostScope for AnyHost {
    fn covers(&self, _: Option<&str>, _: &str) -> bool {
        true
    }
}
