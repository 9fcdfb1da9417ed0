//! The page at `/`: what this is, how it is, and where the answers are. No script, nothing loaded from elsewhere.

use std::fmt::Write as _;

use meshprobe_proto::v1;

use crate::api::Api;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}\
    code{font:14px/1.5 ui-monospace,monospace}td{padding:.1rem 1.5rem .1rem 0;vertical-align:top}";

const ANSWERS: [(&str, &str); 10] = [
    (
        "/api/v1/status",
        "the mesh and the aggregator in a few numbers",
    ),
    ("/api/v1/nodes", "every known node and its state"),
    (
        "/api/v1/matrix?kind=udp&plane=pod&family=v4",
        "one layer, source by target; kinds udp, tcp, dns-udp, dns-tcp; planes pod, host, service",
    ),
    (
        "/api/v1/path?source=A&target=B",
        "everything known between two nodes (put their names in)",
    ),
    (
        "/api/v1/findings",
        "what is wrong now and why; pattern, node, zone, severity",
    ),
    (
        "/api/v1/explain?source=A&target=B",
        "why A cannot talk to B: each layer in order, the first that fails, the cause",
    ),
    (
        "/api/v1/incidents?includeResolved=true",
        "incidents, newest first; pageSize, pageToken",
    ),
    (
        "/api/v1/incidents/ID",
        "one incident, its timeline, who was told",
    ),
    (
        "/api/v1/silences?includeExpired=true",
        "silences and maintenance windows",
    ),
    (
        "/runbook/node-dark",
        "what a pattern means and what to do first, for every pattern",
    ),
];

pub(super) fn render(api: &Api) -> String {
    let v1::Status {
        version,
        judging,
        not_judging_reason,
        nodes,
        nodes_reporting,
        open_incidents,
        ..
    } = api.status();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>meshprobe</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>meshprobe</h1><p>Aggregator {}. {nodes} nodes, {nodes_reporting} of them reporting, {open_incidents} open \
         incidents.",
        escape(&version)
    );
    if !judging {
        // Writing to a String cannot fail.
        write!(
            html,
            " It does not judge yet: {}.",
            escape(not_judging_reason.trim_end_matches('.'))
        )
        .ok();
    }
    html.push_str(
        "</p><p>There is no graphical view at this address yet. The answers are JSON:</p><table>",
    );
    for (address, what) in ANSWERS {
        let address = escape(address);
        write!(
            html,
            "<tr><td><a href=\"{address}\"><code>{address}</code></a></td><td>{what}</td></tr>"
        )
        .ok();
    }
    html.push_str(
        "</table><p>The same over gRPC is <code>meshprobe.v1.MeshService</code> on the gRPC port (with reflection); on a \
         terminal it is the command <code>meshprobe</code>.</p></body></html>\n",
    );
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
