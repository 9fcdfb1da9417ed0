//! What a person who wrote something wrong reads.

mod receivers;
mod targets;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use meshprobe_core::path::ProbeKind;

use super::*;

const EXAMPLE: &str = include_str!("../../../../deploy/examples/aggregator.yaml");

fn now() -> Timestamp {
    "2027-06-01T00:00:00Z".parse().unwrap()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    let path = Path::new("aggregator.yaml");
    let config: Config = meshprobe_daemon::config::parse(text, path)?;
    config.check(now()).into_result(path)?;
    Ok(config)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The message begins with the place and has each of the words.
#[track_caller]
fn expect(text: &str, place: &str, words: &[&str]) {
    let error = refused(text);
    assert!(
        error.starts_with(&format!("aggregator.yaml:{place}: ")),
        "{error}"
    );
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

#[test]
fn an_empty_file_is_a_working_aggregator() {
    let config = parse("{}").unwrap();
    assert_eq!(config.listen.grpc[0].value.0.port(), 4860);
    assert_eq!(config.listen.http[0].value.0.port(), 4861);
    assert_eq!(config.listen.admin.0.port(), 4865);
    assert!(config.membership.self_registration);
    assert_eq!(config.detection.dark_hold, HumanDuration::from_secs(1));
}

#[test]
fn the_example_is_a_good_configuration() {
    let mut config: Config =
        meshprobe_daemon::config::parse(EXAMPLE, Path::new("example")).unwrap();
    // Its secrets lie on the machine that it is written for.
    config.receivers.iter_mut().for_each(without_files);
    config.stamp.keys.clear();
    config.tls = TlsListeners::default();
    config
        .check(now())
        .into_result(Path::new("example"))
        .unwrap();
    assert_eq!(config.nodes.len(), 2);
    assert_eq!(config.dns[0].names[2].expect, Rcode::NxDomain);
    assert_eq!(
        config.external.targets[2].ask().unwrap().kind(),
        ProbeKind::Http
    );
    assert_eq!(config.probing, Probing::default(), "it shows the defaults");
    assert_eq!(config.receivers[0].name.value, "pager");
}

/// The same receiver without the files that lie on the machine that it is written for.
fn without_files(receiver: &mut ReceiverConfig) {
    receiver.bearer_token_file = None;
    let address = || {
        use meshprobe_daemon::config::{Location, Spanned};
        let url = "https://example.com/".parse().unwrap();
        Some(Spanned::new(url, Location::UNKNOWN, Location::UNKNOWN))
    };
    if let Some(hook) = &mut receiver.webhook {
        hook.secret_files.clear();
    }
    if let Some(slack) = &mut receiver.slack
        && slack.url_file.take().is_some()
    {
        slack.url = address();
    }
    if let Some(template) = &mut receiver.template {
        template.header_files.clear();
    }
}

#[test]
fn the_example_mentions_every_section() {
    let serde_json::Value::Object(sections) = serde_json::to_value(Config::default()).unwrap()
    else {
        panic!()
    };
    for section in sections.keys() {
        let mentioned = EXAMPLE.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{section}:"))
        });
        assert!(
            mentioned,
            "{section} is not in deploy/examples/aggregator.yaml"
        );
    }
}

#[test]
fn what_is_dumped_is_read_back_as_the_same() {
    let text = "nodes: [{name: a, zone: z, addresses: [{plane: pod, ip: 10.0.0.1}]}]\n\
                dns_search: {names: [kubernetes.default]}\n\
                services: [{name: echo, address: \"10.96.0.50:4862\"}]\n\
                external: {allow: [{cidr: 192.0.2.0/24, ports: [80, 8000-8100]}], \
                targets: [{name: shop, url: \"http://192.0.2.7/\", expect: {status: [200]}, family: v4}, \
                {name: db, tcp: \"192.0.2.8:8001\"}]}\n\
                probing: {icmp: {interval: 5s}, mtu: off, quic: {sample: 3}}\n\
                dns: [{server: vip, address: \"10.96.0.10:53\", plane: service, names: [{name: a.b., expect: NXDOMAIN}]}]\n\
                receivers: [{name: pager, webhook: {url: \"https://example.com/hook\"}}]\n";
    let config = parse(text).unwrap();
    let again = parse(&config.dump().unwrap()).unwrap();
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        serde_json::to_value(&again).unwrap()
    );
    assert_eq!(ReloadPlan::between(&config, &again), ReloadPlan::default());
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    expect(
        "membership:\n  max_node: 3\n",
        "2:3",
        &["max_node", "max_nodes", "self_registration"],
    );
}

#[test]
fn a_wrong_type_is_refused_with_what_to_write() {
    expect("membership:\n  max_nodes: many\n", "2:14", &["many"]);
    expect(
        "probing:\n  report_interval: 10\n",
        "2:20",
        &["the unit is missing", "10s"],
    );
    expect("tls: yes\n", "1:6", &[]);
}

#[test]
fn a_bad_address_is_refused_with_an_example() {
    expect(
        "listen:\n  grpc: [\"4860\"]\n",
        "2:10",
        &["bad listen address \"4860\"", "0.0.0.0:4860"],
    );
    expect(
        "nodes:\n  - name: a\n    addresses: [{plane: pod, ip: 10.0.0.300}]\n",
        "3:34",
        &["10.0.0.300", "IPv4 or IPv6 literal"],
    );
    expect(
        "dns:\n  - {server: s, address: coredns, plane: pod, names: []}\n",
        "2:26",
        &["coredns", "10.96.0.10:53"],
    );
}

#[test]
fn a_bad_node_name_or_plane_is_refused() {
    expect("nodes:\n  - name: Node_1\n", "2:11", &["'N'"]);
    expect(
        "nodes:\n  - name: a\n    addresses: [{plane: overlay, ip: 10.0.0.1}]\n",
        "3:25",
        &["overlay", "pod", "host", "service"],
    );
}

#[test]
fn everything_that_contradicts_itself_is_said_at_once_with_its_place() {
    let text = "\
zones: [{name: z1}, {name: z1}]
nodes:
  - {name: a, zone: z1, addresses: [{plane: pod, ip: 10.0.0.1}]}
  - {name: a, zone: z9}
  - {name: b, addresses: [{plane: pod, ip: 10.0.0.1}]}
dns:
  - {server: vip, address: \"10.0.0.9:53\", plane: service, names: []}
receivers:
  - {name: pager, webhook: {url: \"ftp://example.com\"}}
listen:
  http: [\"0.0.0.0:4860\"]
probing:
  udp: {interval: 10ms, timeout: 500ms}
detection: {silent_after: 1s}
aggregators: [{address: somewhere, way: underlay}]
";
    let expected = "\
aggregator.yaml: 10 problems
  line 11, column 10: listen.http[0]: 0.0.0.0:4860 is taken by listen.grpc[0]; write another port
  line 1, column 28: zones[1]: zone z1 is there already (zones[0]); names are unique, remove or rename one
  line 4, column 12: nodes[1]: node a is there already (nodes[0]); names are unique, remove or rename one
  line 4, column 21: nodes[1].zone: unknown zone \"z9\"; `zones` has z1
  nodes[2].addresses[0]: 10.0.0.1 on the pod plane belongs to a already
  dns[0].names: write at least one name to ask for
  probing.udp.interval: must be off, or 50ms to 1h, is 10ms
  detection.silent_after: must not be shorter than limits.keepalive_interval + limits.keepalive_timeout (2s + 3s), which is how long a dead connection goes unnoticed; is 1s
  line 9, column 34: receivers[0].webhook.url: ftp://example.com/ is no http or https address
  line 15, column 25: aggregators[0].address: bad address \"somewhere\": write host:port, for example 192.0.2.10:30860";
    assert_eq!(refused(text), expected);
}

#[test]
fn secrets_are_read_checked_and_never_shown() {
    let folder = std::env::temp_dir().join(format!("meshprobe-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, content: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let good = write("good", "  0123456789abcdef\n");
    assert_eq!(Secret::read(&good).unwrap().expose(), b"0123456789abcdef");
    let coded = write("coded", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
    assert_eq!(Secret::read(&coded).unwrap(), Secret::read(&good).unwrap());
    assert_eq!(
        format!("{:?}", Secret::read(&good).unwrap()),
        "Secret(16 bytes)"
    );
    for (name, content, word) in [
        ("short", "abc", "at least 16"),
        ("bad", "whsec_!!!", "not base64"),
        ("huge", &"x".repeat(5000), "not a secret"),
    ] {
        let error = Secret::read(&write(name, content)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let text = format!(
        "receivers: [{{name: p, webhook: {{url: \"http://a/\", secret_files: [{}]}}}}]",
        folder.join("absent").display()
    );
    assert!(
        refused(&text).contains("receivers[0].webhook.secret_files[0]: read the secret file"),
        "{}",
        refused(&text)
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reload_says_what_changes_now_and_what_waits_for_a_restart() {
    let old = parse("receivers: [{name: a, webhook: {url: \"http://a/\"}}]\n").unwrap();
    let new =
        parse("# a comment\nstore: {path: /tmp/x.db}\nreceivers: [{name: b, webhook: {url: \"http://a/\"}}]\n")
            .unwrap();
    let plan = ReloadPlan::between(&old, &new);
    assert_eq!(plan.summary(), "changed: receivers; needs a restart: store");
    let merged = old.clone().reloaded(new);
    assert_eq!(merged.receivers[0].name.value, "b");
    assert_eq!(merged.store.path, old.store.path);
    let serde_json::Value::Object(sections) = serde_json::to_value(&old).unwrap() else {
        panic!("a configuration is an object")
    };
    let restart = [
        "listen", "store", "history", "tls", "limits", "log", "drain",
    ];
    let reloadable = sections
        .keys()
        .filter(|name| !restart.contains(&name.as_str()));
    let reloadable: Vec<&str> = reloadable.map(String::as_str).collect();
    assert_eq!(reloadable, change::RELOADABLE);
    assert!(
        ReloadPlan::between(&old, &old)
            .summary()
            .starts_with("no section changed")
    );
}
