//! What the detail of a path has to say: `detail: {mtu: {forward: 1400, forward_limit: black-hole}}`.
//!
//! Fields are those of [`meshprobe_core::detail`]; one that is not written may be anything.

use meshprobe_core::detail::{
    Detail, DnsDetail, ExternalDetail, FlowLoss, MtuDetail, MtuLimit, QuicDetail, SearchDetail,
    ServiceDetail, UdpDetail,
};
use serde::Deserialize;

use super::ground::Ground;
use super::value::{Comparing, NumberClaim, TextClaim};
use crate::scenario::cast::{Cast, CastError};

/// What a detail has to say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DetailClaim {
    Udp(UdpClaim),
    Mtu(MtuClaim),
    Quic(QuicClaim),
    Dns(DnsClaim),
    Search(SearchClaim),
    Service(ServiceClaim),
    External(ExternalClaim),
}

/// See [`UdpDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UdpClaim {
    pub reordered: Option<NumberClaim>,
    pub duplicated: Option<NumberClaim>,
    pub ttl: Option<NumberClaim>,
    pub dscp_changed_to: Option<NumberClaim>,
    /// Loss by flow is there.
    pub flows: Option<FlowClaim>,
}

/// See [`FlowLoss`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowClaim {
    pub tested: Option<NumberClaim>,
    pub failing: Option<NumberClaim>,
}

/// See [`MtuDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MtuClaim {
    pub forward: Option<NumberClaim>,
    pub forward_limit: Option<Limit>,
    pub reverse: Option<NumberClaim>,
    pub reverse_limit: Option<Limit>,
    pub signalled_mtu: Option<NumberClaim>,
    /// The role of the node whose address, as its pods see it, the ICMP message came from.
    pub signalled_by: Option<String>,
    pub interface_mtu: Option<NumberClaim>,
    pub route_mtu: Option<NumberClaim>,
}

/// An [`MtuLimit`] by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit(pub MtuLimit);

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = |limit: &MtuLimit| limit.as_str() == text;
        MtuLimit::ALL
            .into_iter()
            .find(named)
            .map(Self)
            .ok_or_else(|| {
                let known: Vec<&str> = MtuLimit::ALL.iter().map(|limit| limit.as_str()).collect();
                format!("`{text}` is no limit: write one of {}", known.join(", "))
            })
    }
}

/// See [`QuicDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuicClaim {
    /// Whether a long-lived connection is there.
    pub long_flow: Option<bool>,
    pub long_flow_breaks: Option<NumberClaim>,
    pub black_holes_detected: Option<NumberClaim>,
    pub mtu: Option<NumberClaim>,
    pub failure: Option<TextClaim>,
}

/// See [`DnsDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsClaim {
    pub rcode: Option<NumberClaim>,
    pub truncated: Option<bool>,
    pub answers: Option<NumberClaim>,
    pub wrong_answers: Option<NumberClaim>,
}

/// See [`SearchDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchClaim {
    pub queries: Option<NumberClaim>,
    pub answered_name: Option<TextClaim>,
    pub failure: Option<TextClaim>,
}

/// See [`ServiceDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceClaim {
    pub tried: Option<NumberClaim>,
    pub failed: Option<NumberClaim>,
    /// How many backends answered.
    pub backends: Option<NumberClaim>,
}

/// See [`ExternalDetail`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalClaim {
    pub status: Option<NumberClaim>,
    pub redirects: Option<NumberClaim>,
    pub body_matched: Option<bool>,
    pub tls_version: Option<TextClaim>,
    pub proxy: Option<TextClaim>,
    /// Days until the certificate's end; after it a negative number.
    pub certificate_days: Option<NumberClaim>,
    pub certificate_subject: Option<TextClaim>,
    pub failure: Option<TextClaim>,
}

/// What a comparison needs beside the claim.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    pub cast: &'a Cast,
    pub ground: &'a Ground,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

impl DetailClaim {
    /// Whether its roles are played.
    pub fn check(&self, cast: &Cast) -> Result<(), CastError> {
        if let Self::Mtu(mtu) = self
            && let Some(role) = &mtu.signalled_by
        {
            cast.node(role)?;
        }
        Ok(())
    }

    /// What the detail says differently, one sentence each.
    pub fn differences(&self, found: &Detail, setting: Setting<'_>) -> Vec<String> {
        let mut compare = Comparing::default();
        match (self, found) {
            (Self::Udp(wanted), Detail::Udp(found)) => udp(&mut compare, wanted, found),
            (Self::Mtu(wanted), Detail::Mtu(found)) => mtu(&mut compare, wanted, found, setting),
            (Self::Quic(wanted), Detail::Quic(found)) => quic(&mut compare, wanted, found),
            (Self::Dns(wanted), Detail::Dns(found)) => dns(&mut compare, wanted, *found),
            (Self::Search(wanted), Detail::Search(found)) => search(&mut compare, wanted, found),
            (Self::Service(wanted), Detail::Service(found)) => service(&mut compare, wanted, found),
            (Self::External(wanted), Detail::External(found)) => {
                external(&mut compare, wanted, found, setting.now);
            }
            _ => return vec!["the detail is one of another kind of probe".to_owned()],
        }
        compare.into_differences()
    }
}

fn known(size: u16) -> Option<f64> {
    (size > 0).then_some(f64::from(size))
}

fn udp(compare: &mut Comparing, wanted: &UdpClaim, found: &UdpDetail) {
    compare.number("reordered", wanted.reordered, Some(found.reordered.into()));
    compare.number(
        "duplicated",
        wanted.duplicated,
        Some(found.duplicated.into()),
    );
    compare.number("ttl", wanted.ttl, found.ttl.map(Into::into));
    let dscp = found.dscp_changed_to.map(Into::into);
    compare.number("dscp_changed_to", wanted.dscp_changed_to, dscp);
    let Some(flows) = &wanted.flows else { return };
    let Some(FlowLoss {
        tested, failing, ..
    }) = &found.flows
    else {
        compare.require(false, || "there is no loss by flow".to_owned());
        return;
    };
    compare.number("flows.tested", flows.tested, Some((*tested).into()));
    compare.number("flows.failing", flows.failing, Some((*failing).into()));
}

fn mtu(compare: &mut Comparing, wanted: &MtuClaim, found: &MtuDetail, setting: Setting<'_>) {
    for (name, wanted, found) in [
        ("forward", wanted.forward, found.forward),
        ("reverse", wanted.reverse, found.reverse),
        ("signalled_mtu", wanted.signalled_mtu, found.signalled_mtu),
        ("interface_mtu", wanted.interface_mtu, found.interface_mtu),
        ("route_mtu", wanted.route_mtu, found.route_mtu),
    ] {
        compare.number(name, wanted, known(found));
    }
    for (name, wanted, found) in [
        ("forward_limit", wanted.forward_limit, found.forward_limit),
        ("reverse_limit", wanted.reverse_limit, found.reverse_limit),
    ] {
        let words = wanted.map(|limit| limit.0.as_str());
        compare.same(name, words, &found.as_str());
    }
    if let Some(role) = &wanted.signalled_by {
        let node = setting.cast.node(role).unwrap_or_default();
        let by = found.signalled_by.map(|ip| ip.to_string());
        let by = by.unwrap_or_default();
        compare.require(setting.ground.is_of_pods(&by, node), || {
            format!("signalled_by is {by:?}, no address of {node}")
        });
    }
}

fn quic(compare: &mut Comparing, wanted: &QuicClaim, found: &QuicDetail) {
    let has_long_flow = found.long_flow_age.is_some();
    compare.same("long_flow", wanted.long_flow, &has_long_flow);
    let breaks = Some(found.long_flow_breaks.into());
    compare.number("long_flow_breaks", wanted.long_flow_breaks, breaks);
    let holes = Some(found.black_holes_detected.into());
    compare.number("black_holes_detected", wanted.black_holes_detected, holes);
    compare.number("mtu", wanted.mtu, known(found.mtu));
    compare.text("failure", wanted.failure.as_ref(), &found.failure);
}

fn dns(compare: &mut Comparing, wanted: &DnsClaim, found: DnsDetail) {
    compare.number("rcode", wanted.rcode, found.rcode.map(Into::into));
    compare.same("truncated", wanted.truncated, &found.truncated);
    compare.number("answers", wanted.answers, Some(found.answers.into()));
    let strange = Some(found.wrong_answers.into());
    compare.number("wrong_answers", wanted.wrong_answers, strange);
}

fn search(compare: &mut Comparing, wanted: &SearchClaim, found: &SearchDetail) {
    compare.number("queries", wanted.queries, Some(found.queries.into()));
    let name = wanted.answered_name.as_ref();
    compare.text("answered_name", name, &found.answered_name);
    compare.text("failure", wanted.failure.as_ref(), &found.failure);
}

fn service(compare: &mut Comparing, wanted: &ServiceClaim, found: &ServiceDetail) {
    compare.number("tried", wanted.tried, Some(found.tried.into()));
    compare.number("failed", wanted.failed, Some(found.failed.into()));
    let answering = found.backends.iter().filter(|one| one.connections > 0);
    compare.number("backends", wanted.backends, Some(answering.count() as f64));
}

fn external(compare: &mut Comparing, wanted: &ExternalClaim, found: &ExternalDetail, now: i64) {
    compare.number("status", wanted.status, found.status.map(Into::into));
    compare.number("redirects", wanted.redirects, Some(found.redirects.into()));
    if let Some(matched) = wanted.body_matched {
        compare.require(found.body_matched == Some(matched), || {
            format!("body_matched is {:?}, not {matched}", found.body_matched)
        });
    }
    let days = |end: i64| (end - now) as f64 / 86_400.0;
    let certificate_days = found.certificate_not_after.map(days);
    compare.number(
        "certificate_days",
        wanted.certificate_days,
        certificate_days,
    );
    for (name, wanted, found) in [
        ("tls_version", &wanted.tls_version, &found.tls_version),
        ("proxy", &wanted.proxy, &found.proxy),
        (
            "certificate_subject",
            &wanted.certificate_subject,
            &found.certificate_subject,
        ),
        ("failure", &wanted.failure, &found.failure),
    ] {
        compare.text(name, wanted.as_ref(), found);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ground;
    use super::*;

    fn differences(claim: &str, found: &Detail) -> Vec<String> {
        let claim: DetailClaim =
            meshprobe_daemon::config::parse(claim, Path::new("claim")).expect("a claim");
        let nodes: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
        let cast = Cast::assign(&["victim".to_owned()], &nodes, 1).expect("a cast");
        claim.check(&cast).expect("known roles");
        let setting = Setting {
            cast: &cast,
            ground: &ground::tests::three(),
            now: 86_400 * 10,
        };
        claim.differences(found, setting)
    }

    #[test]
    fn sizes_have_to_be_right_to_the_byte() {
        let found = Detail::Mtu(MtuDetail {
            forward: 1399,
            forward_limit: MtuLimit::Signalled,
            signalled_by: Some([10, 244, 1, 1].into()),
            ..MtuDetail::default()
        });
        let claim = "{mtu: {forward: 1400, forward_limit: black-hole, reverse: 1399, signalled_by: victim}}";
        assert_eq!(
            differences(claim, &found),
            [
                "forward is 1399, not 1400",
                "reverse was not measured, should be 1399",
                "forward_limit is signalled, not black-hole",
                "signalled_by is \"10.244.1.1\", no address of b",
            ]
        );
        assert_eq!(
            differences("{mtu: {forward: 1399, forward_limit: signalled}}", &found),
            [""; 0]
        );
    }

    #[test]
    fn a_certificate_has_days_and_a_failure_its_reason() {
        let found = Detail::External(ExternalDetail {
            certificate_not_after: Some(86_400 * 9),
            failure: "certificate has expired".to_owned(),
            ..ExternalDetail::default()
        });
        let claim = "{external: {certificate_days: {at_most: 0}, failure: {contains: expired}}}";
        assert_eq!(differences(claim, &found), [""; 0]);
        let claim = "{external: {certificate_days: 2, status: 502, body_matched: true}}";
        assert_eq!(
            differences(claim, &found),
            [
                "status was not measured, should be 502",
                "body_matched is None, not true",
                "certificate_days is -1, not 2",
            ]
        );
    }

    #[test]
    fn loss_by_flow_that_is_missing_is_told() {
        let found = Detail::Udp(UdpDetail::default());
        assert_eq!(
            differences("{udp: {flows: {failing: {at_least: 1}}}}", &found),
            ["there is no loss by flow"]
        );
        assert_eq!(
            differences("{mtu: {forward: 1}}", &found),
            ["the detail is one of another kind of probe"]
        );
    }

    #[test]
    fn a_limit_or_a_role_that_does_not_exist_is_refused() {
        let parse = |text: &str| {
            meshprobe_daemon::config::parse::<DetailClaim>(text, Path::new("claim"))
                .map_err(|error| error.to_string())
        };
        let error = parse("{mtu: {forward_limit: blackhole}}").expect_err("no limit");
        assert!(error.contains("interface, black-hole"), "{error}");
        let error = parse("{mtu: {forwards: 1}}").expect_err("no field");
        assert!(
            error.contains("forwards") && error.contains("claim:1"),
            "{error}"
        );
    }
}
