//! Targets that are no nodes, intervals and keys: what a person who wrote something wrong reads.

use super::*;

fn written(name: &str, content: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!(
        "meshprobe-config-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The problems of one target behind a fence around 192.0.2.0/24:443 and everything of 198.51.100.0/24.
fn target(fields: &str) -> String {
    refused(&format!(
        "external:\n  allow: [{{cidr: 192.0.2.0/24, ports: [443]}}, {{cidr: 198.51.100.0/24}}]\n  targets:\n    - \
         {{name: x, {fields}}}\n"
    ))
}

#[test]
fn an_interval_is_a_duration_or_off_and_what_is_left_out_has_its_default() {
    let config = parse(
        "probing: {icmp: {interval: 5s}, mtu: off, tcp: {interval: off}, quic: {sample: 3}, tls: {timeout: 2s}, udp: \
         {interval: 0s}}",
    )
    .unwrap();
    let Probing {
        icmp,
        mtu,
        tcp,
        quic,
        tls,
        udp,
        ..
    } = config.probing;
    assert_eq!(icmp.interval.to_string(), "5s");
    assert_eq!(icmp.timeout, HumanDuration::from_secs(1));
    assert_eq!((mtu.interval, tcp.interval), (Interval::Off, Interval::Off));
    assert_eq!((quic.sample, quic.interval.to_string()), (3, "30s".into()));
    assert_eq!(tls.interval, Probing::default().tls.interval);
    assert_eq!(tls.timeout, HumanDuration::from_secs(2));
    assert_eq!(udp.unwrap().interval, Interval::Off);
}

#[test]
fn a_wrong_interval_is_refused_with_its_place() {
    expect(
        "probing:\n  mtu: {interval: never}\n",
        "2:19",
        &["never", "10s"],
    );
    expect("probing:\n  mtu: on\n", "2:3", &["off", "interval"]);
    expect(
        "probing:\n  mtu: {intervall: 1s}\n",
        "2:9",
        &["intervall", "interval", "timeout"],
    );
    expect(
        "probing:\n  mtus: off\n",
        "2:3",
        &["mtus", "mtu", "dns_search"],
    );
    let error = refused("probing: {http: {timeout: 31s}, quic: {sample: 0}}");
    for word in [
        "probing.http.timeout: must be at most 30s, is 31s",
        "probing.quic.sample: must be 1 to 64, is 0",
    ] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn names_and_services_are_unique_and_well_formed() {
    let error = refused(
        "dns_search: {names: [a.b, \"a b\", a.b]}\nservices:\n  - {name: s, address: \"10.0.0.1:80\"}\n  - {name: s, \
         address: \"10.0.0.2:80\"}\n",
    );
    for line in [
        "line 1, column 34: dns_search.names[2]: name a.b is there already (dns_search.names[0])",
        "line 1, column 27: dns_search.names[1]: \"a b\" is no domain name",
        "line 4, column 12: services[1]: service s is there already (services[0])",
    ] {
        assert!(error.contains(line), "{line}: {error}");
    }
    expect(
        "services:\n  - {name: s, address: echo}\n",
        "2:24",
        &["echo", "10.96.0.10:53"],
    );
}

#[test]
fn a_target_outside_of_the_fence_is_refused_with_what_to_write() {
    let error = target("tcp: \"203.0.113.9:5432\"");
    assert!(
        error.contains(
            "line 4, column 22: external.targets[0].tcp: 203.0.113.9:5432 is outside the fence"
        ),
        "{error}"
    );
    assert!(
        error.contains("{cidr: 203.0.113.9/32, ports: [5432]}"),
        "{error}"
    );
    assert!(target("tls: \"192.0.2.1:444\"").contains("ports: [444]"));
    assert!(target("url: \"http://192.0.2.1/\"").contains("192.0.2.1:80 is outside"));
    // Of a name only the port is known; an entry without ports has every port.
    let closed = refused(
        "external: {allow: [{cidr: 192.0.2.0/24, ports: [443]}], targets: [{name: x, tcp: \"db.example.com:5432\"}]}",
    );
    assert!(
        closed.contains("no entry of external.allow has port 5432"),
        "{closed}"
    );
    parse("external: {allow: [{cidr: 192.0.2.0/24, ports: [443]}], targets: [{name: x, url: \"https://a.example/\"}, {name: y, tls: \"192.0.2.9:443\"}]}").unwrap();
    parse("external: {allow: [{cidr: \"2001:db8::/32\"}], targets: [{name: x, tcp: \"[2001:db8::7]:25\"}]}").unwrap();
}

#[test]
fn a_fence_says_exactly_what_it_means() {
    expect(
        "external:\n  allow: [{cidr: 192.0.2.7/24}]\n",
        "2:18",
        &["192.0.2.0/24", "192.0.2.7/32"],
    );
    expect(
        "external:\n  allow: [{cidr: everything}]\n",
        "2:18",
        &["everything", "prefix length"],
    );
    expect(
        "external:\n  allow: [{cidr: 192.0.2.0/24, ports: [8100-8000]}]\n",
        "2:40",
        &["8100-8000", "8000-8100"],
    );
}

#[test]
fn each_field_of_a_target_belongs_to_its_kind() {
    for (fields, expected) in [
        ("redirects: 1", "exactly one of tcp"),
        (
            "tcp: \"192.0.2.1:443\", url: \"https://192.0.2.1/\"",
            "exactly one of tcp",
        ),
        (
            "tcp: \"192.0.2.1:443\", server_name: a.b",
            ".server_name: belongs to tls",
        ),
        (
            "tls: \"192.0.2.1:443\", server_name: \"a b\"",
            "no name that a certificate has",
        ),
        (
            "url: \"http://198.51.100.1/\", ca_file: /etc/hostname",
            ".ca_file: belongs to tls",
        ),
        (
            "tls: \"192.0.2.1:443\", expect: {status: [200]}",
            ".expect: belongs to url",
        ),
        (
            "tls: \"192.0.2.1:443\", redirects: 1",
            ".redirects: must be 0 to 10 and belongs to url",
        ),
        (
            "url: \"https://192.0.2.1/\", redirects: 11",
            "must be 0 to 10",
        ),
        (
            "url: \"https://192.0.2.1/\", expect: {status: [99]}",
            "must be 100 to 599, is 99",
        ),
        ("url: \"ftp://192.0.2.1/\"", ".url: bad URL"),
        (
            "url: \"https://me:hunter2@192.0.2.1/\"",
            ".url: has a user or a password",
        ),
        (
            "tls: \"192.0.2.1:443\", family: v6",
            "192.0.2.1 is no v6 address",
        ),
    ] {
        let error = target(fields);
        assert!(error.contains(expected), "{fields}: {error}");
        assert!(error.contains("line 4, column "), "{fields}: {error}");
    }
    let error = target("url: \"https://me:hunter2@192.0.2.1/\"");
    assert!(!error.contains("hunter2"), "{error}");
    let text = "external:\n  targets:\n    - {name: x, tcp: db}\n";
    expect(text, "3:22", &["db.example.com:5432"]);
    let text = "external:\n  targets:\n    - {name: x, url: shop}\n";
    expect(text, "3:22", &["relative URL"]);
    let text = "external:\n  targets:\n    - {name: x, expect: {statuses: [200]}}\n";
    expect(text, "3:26", &["statuses", "status", "body"]);
}

#[test]
fn authorities_that_do_not_parse_are_refused() {
    let good = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    let good = written("good.pem", &good.cert.pem());
    let text = |path: &Path| {
        format!(
            "external: {{allow: [{{cidr: 192.0.2.0/24}}], targets: [{{name: x, tls: \"192.0.2.1:443\", ca_file: {}}}]}}",
            path.display()
        )
    };
    let config = parse(&text(&good)).unwrap();
    assert!(config.external.targets[0].ca_file.is_some());
    for (name, content, expected) in [
        ("text.pem", "hello\n", "no certificate in it"),
        (
            "torn.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "certificate 1 is no PEM",
        ),
        (
            "odd.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 does not parse",
        ),
    ] {
        let error = refused(&text(&written(name, content)));
        assert!(error.contains("external.targets[0].ca_file"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let error = refused(&text(Path::new("/nonexistent.pem")));
    assert!(error.contains("it cannot be read"), "{error}");
}

#[test]
fn an_expired_a_third_and_a_repeated_key_are_refused() {
    let key = |name: &str| written(name, &format!("secret of {name}, long enough\n"));
    let keys =
        |entries: &[String]| format!("stamp:\n  keys:\n    - {}\n", entries.join("\n    - "));
    let entry = |name: &str, more: &str| format!("{{file: {}{more}}}", key(name).display());
    let config = parse(&keys(&[
        entry("new", ", not_after: 2027-06-01T00:00:01Z"),
        "{secret: \"0123456789abcdef\"}".to_owned(),
    ]))
    .unwrap();
    let secrets = config.stamp.secrets().unwrap();
    assert_eq!(secrets[0].as_ref(), b"secret of new, long enough");
    assert_eq!(secrets[1].as_ref(), b"0123456789abcdef");
    assert!(!config.dump().unwrap().contains("0123456789abcdef"));
    assert!(!format!("{config:?}").contains("0123456789abcdef"));

    let expired = refused(&keys(&[entry("old", ", not_after: 2027-06-01T00:00:00Z")]));
    assert!(
        expired.contains("stamp.keys[0].not_after: this key expired at 2027-06-01T00:00:00Z"),
        "{expired}"
    );
    assert!(expired.contains("line 3, column "), "{expired}");
    let twice = refused(&keys(&[entry("a", ""), entry("a", "")]));
    assert!(
        twice.contains("line 4, column 7: stamp.keys[1]: is the same secret as stamp.keys[0]"),
        "{twice}"
    );
    let many = refused(&keys(&[entry("a", ""), entry("b", ""), entry("c", "")]));
    assert!(many.contains("probers accept 2 keys"), "{many}");
    let none = refused("stamp:\n  keys:\n    - {not_after: 2030-01-01T00:00:00Z}\n");
    assert!(none.contains("exactly one of file: and secret:"), "{none}");
    let short = refused("stamp:\n  keys:\n    - {secret: abc}\n");
    assert!(
        short.contains("line 3, column 16: stamp.keys[0].secret: in place: the secret has 3 bytes"),
        "{short}"
    );
    expect(
        "stamp:\n  keys:\n    - {secret: abc, not_after: soon}\n",
        "3:32",
        &["soon"],
    );
    expect("stamp:\n  key: []\n", "2:3", &["key", "keys"]);
}
