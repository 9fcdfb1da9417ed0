use super::*;

fn receiver(kind: &str) -> String {
    format!("receivers:\n  - name: one\n    {kind}\n")
}

#[test]
fn every_kind_of_receiver_is_read() {
    let text = "receivers:
  - {name: a, webhook: {url: 'https://a/'}, rate_limit: {per_minute: 30}}
  - {name: b, alertmanager: {urls: ['http://b1:9093', 'http://b2:9093'], labels: {cluster: prod}}}
  - {name: c, slack: {url: 'https://c/', layout: blocks}, send_resolved: false}
  - name: d
    template:
      url: https://d/
      method: PUT
      headers: {X-Team: net}
      body: '{\"text\": {{ summary | json }}}'
notifications:
  routes:
    - {match: {pattern: ['dns-*']}, receivers: [c, d], continue: true}
  default_receivers: [a]
  resolve_hold: 1m
";
    let config = parse(text).unwrap();
    assert_eq!(config.receivers.len(), 4);
    assert_eq!(config.receivers[0].rate_limit.unwrap().burst, 10);
    let again = parse(&config.dump().unwrap()).unwrap();
    assert_eq!(ReloadPlan::between(&config, &again), ReloadPlan::default());
}

#[test]
fn a_receiver_is_of_one_kind_with_one_address() {
    for (kind, words) in [
        (
            "timeout: 5s",
            "exactly one of webhook, alertmanager, slack and template",
        ),
        (
            "webhook: {url: 'http://a/'}\n    slack: {url: 'http://a/'}",
            "exactly one of webhook",
        ),
        ("slack: {channel: net}", "exactly one of url and url_file"),
        ("alertmanager: {urls: []}", "1 to 16 members"),
    ] {
        let error = refused(&receiver(kind));
        assert!(error.contains("line 2, column 11: receivers[0]"), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_unknown_key_of_a_kind_is_refused_with_its_place() {
    expect(
        &receiver("alertmanager: {url: 'http://a'}"),
        "3:20",
        &["url", "urls", "resend"],
    );
    expect(
        &receiver("teams: {}"),
        "3:5",
        &["teams", "slack", "template"],
    );
    expect(
        "notifications:\n  routes:\n    - {match: {nodes: [a]}, receivers: []}\n",
        "3:16",
        &["nodes", "node"],
    );
}

#[test]
fn what_makes_no_sense_of_a_kind_is_refused() {
    for (kind, words) in [
        (
            "alertmanager: {urls: ['http://a/api/v2/alerts']}",
            "base address",
        ),
        (
            "alertmanager: {urls: ['http://a']}\n    rate_limit: {per_minute: 1}",
            "Alertmanager groups by itself",
        ),
        (
            "alertmanager: {urls: ['http://a'], labels: {my-label: x}}",
            "no label",
        ),
        (
            "alertmanager: {urls: ['http://a'], resend: 0s}",
            "must be 1s to 1h",
        ),
        (
            "webhook: {url: 'http://a/'}\n    rate_limit: {per_minute: 0}",
            "must be 1 to 6000",
        ),
        (
            "template: {url: 'http://a/', headers: {'X Y': z}, body: 'x', content_type: text/plain}",
            "no name of a header",
        ),
        (
            "template: {url: 'http://a/', body: '{\"text\": \"{{ summary }}\"}'}",
            "receivers[0].template.body: rendering an incident that opens gives no JSON",
        ),
        (
            "slack: {url_file: /nowhere/at/all}",
            "receivers[0].slack.url_file: read the secret file",
        ),
    ] {
        let error = refused(&receiver(kind));
        assert!(error.contains(words), "{kind}: {error}");
    }
}

#[test]
fn routes_lead_to_receivers_and_patterns_that_exist() {
    let text = "receivers: [{name: pager, webhook: {url: 'http://a/'}}]
notifications:
  routes:
    - {match: {pattern: [node-drak]}, receivers: [pagr]}
  default_receivers: [chat]
";
    let error = refused(text);
    for words in [
        "line 4, column 51: notifications.routes[0].receivers[0]: unknown receiver \"pagr\"; `receivers` has pager",
        "line 4, column 26: notifications.routes[0].match.pattern[0]: no pattern is called \"node-drak\"",
        "line 5, column 23: notifications.default_receivers[0]: unknown receiver \"chat\"",
    ] {
        assert!(error.contains(words), "{words}\n{error}");
    }
}
