//! The access log and traces: where they go.

use crate::config::Config;
use crate::config::fault::Fault;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let log = &config.access_log;
    if let (true, Some(file)) = (log.stdout, &log.file) {
        faults.push(
            Fault::error(file.span(), "the access log goes to one place only")
                .help("remove `stdout` or `file`")
                .also(config.places.value("access_log.stdout"), "the other one"),
        );
    }
    if let Some(otlp) = &config.tracing.otlp
        && otlp.get_ref().tls
    {
        faults.push(
            Fault::error(otlp.span(), "traces are sent in the clear: write http://")
                .help("run a collector on this machine, which can send them on over TLS"),
        );
    }
}
