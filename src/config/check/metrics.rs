//! What the gateway tells about itself: on an address and paths of its own.

use crate::config::Config;
use crate::config::fault::Fault;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let metrics = &config.metrics;
    let paths = [&metrics.path, &metrics.live, &metrics.ready];
    for (place, path) in paths.iter().enumerate() {
        let mut earlier = paths.iter().take(place);
        if let Some(twin) = earlier.find(|twin| twin.get_ref() == path.get_ref()) {
            let text = format!("`{}` cannot stand for two things", path.get_ref().as_str());
            faults.push(
                Fault::error(path.span(), text)
                    .help("give `path`, `live` and `ready` a path each")
                    .also(twin.span(), "the other one"),
            );
        }
    }
    let Some(listen) = &metrics.listen else {
        return;
    };
    let address = *listen.get_ref();
    let mut others = config.listeners.iter().map(|one| one.get_ref().address);
    let taken = others.any(|other| other == address)
        || config
            .admin
            .as_ref()
            .is_some_and(|admin| admin.listen == address);
    if taken && address.port() != 0 {
        faults.push(
            Fault::error(listen.span(), format!("{address} is listened on already"))
                .help("the numbers are told on an address of their own"),
        );
    }
}
