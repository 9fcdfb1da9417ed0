//! What the aggregator of a scenario is told beside the lab's own configuration.
//!
//! The slow kinds are probed more often than by default, so that a scenario waits seconds and not minutes for their word; what
//! they find does not depend on it. With `targets: true` the mesh also probes the lab's names, virtual IP and external servers.

use meshprobe_lab::Lab;
use serde_json::{Value, json};

/// The name of the virtual IP in front of the responders, as the matrix shows it.
const RESPONDERS: &str = "responders";

/// The settings of every scenario, in the form of the aggregator's configuration.
pub(super) fn settings(lab: &Lab, has_targets: bool) -> Value {
    let mut settings = json!({
        "probing": {
            "mtu": {"interval": "10s"},
            "quic": {"interval": "5s"},
            "dns_search": {"interval": "5s"},
        },
    });
    if has_targets {
        lay_over(&mut settings, &targets(lab));
    }
    settings
}

/// Each external server is asked in every way that there is: `www.example.com-http`, `-https`, `-tls`, `-tcp`.
fn targets(lab: &Lab) -> Value {
    let service = lab.responder_service();
    let ca_file = lab.ca_file();
    let mut external = Vec::new();
    let mut allow = Vec::new();
    for target in lab.external_targets() {
        let name = target.name;
        let (http, https) = (target.http(), target.https());
        allow.push(json!({
            "cidr": format!("{}/32", target.address),
            "ports": [http.port().to_string(), https.port().to_string()],
        }));
        external.extend([
            json!({"name": format!("{name}-tcp"), "tcp": https.to_string()}),
            json!({"name": format!("{name}-tls"), "tls": format!("{name}:{}", https.port()), "ca_file": ca_file}),
            json!({
                "name": format!("{name}-http"),
                "url": format!("http://{name}/healthz"),
                "expect": {"status": [200], "body": "ok"},
            }),
            json!({"name": format!("{name}-https"), "url": format!("https://{name}/"), "ca_file": ca_file}),
        ]);
    }
    json!({
        "probing": {
            "tcp_connect": {"interval": "5s"},
            "tls": {"interval": "5s"},
            "http": {"interval": "5s"},
        },
        "dns_search": {"names": ["kubernetes", "www.example.com"]},
        "services": [{"name": RESPONDERS, "address": service.address.to_string()}],
        "external": {"allow": allow, "targets": external},
    })
}

/// Lays `over` over `under`: objects key by key, anything else replaces. `null` changes nothing at the top and nothing below
/// an object that is not there.
pub(super) fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_over_changes_what_it_names_and_nothing_else() {
        let mut settings =
            json!({"probing": {"mtu": {"interval": "10s"}, "udp": {"interval": "1s"}}});
        lay_over(
            &mut settings,
            &json!({"probing": {"mtu": {"interval": "5s"}}, "dns": []}),
        );
        assert_eq!(
            settings,
            json!({"probing": {"mtu": {"interval": "5s"}, "udp": {"interval": "1s"}}, "dns": []})
        );
        lay_over(&mut settings, &Value::Null);
        assert_eq!(settings["dns"], json!([]));
    }
}
