//! Layers by name: `mtu/pod/v4`, `dns-*/pod/*`.

use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use serde::Deserialize;

const PLANES: [Plane; 3] = [Plane::Pod, Plane::Host, Plane::Service];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// One or several layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LayerPattern {
    text: String,
    kinds: Vec<ProbeKind>,
    planes: Vec<Plane>,
    families: Vec<Family>,
}

impl LayerPattern {
    /// Whether it names this one.
    pub fn names(&self, layer: Layer) -> bool {
        self.kinds.contains(&layer.kind)
            && self.planes.contains(&layer.plane)
            && self.families.contains(&layer.family)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for LayerPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, plane, family] = parts.as_slice() else {
            return Err(format!(
                "`{text}` is no layer: write KIND/PLANE/FAMILY such as `mtu/pod/v4`, or `dns-*/*/*` for several"
            ));
        };
        let (kinds, planes, families) = (
            matching("kind", kind, &ProbeKind::ALL)?,
            matching("plane", plane, &PLANES)?,
            matching("family", family, &FAMILIES)?,
        );
        Ok(Self {
            text,
            kinds,
            planes,
            families,
        })
    }
}

/// Those whose name is `word`, or begins with what stands before its `*`.
fn matching<T: Copy + ToString>(what: &str, word: &str, all: &[T]) -> Result<Vec<T>, String> {
    let is_named = |name: &str| match word.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == word,
    };
    let found: Vec<T> = all
        .iter()
        .copied()
        .filter(|one| is_named(&one.to_string()))
        .collect();
    if found.is_empty() {
        let known: Vec<String> = all.iter().map(ToString::to_string).collect();
        return Err(format!(
            "`{word}` is no {what} of a layer: write one of {}, or `*`",
            known.join(", ")
        ));
    }
    Ok(found)
}

/// Exactly one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "LayerPattern")]
pub struct OneLayer(pub Layer);

impl TryFrom<LayerPattern> for OneLayer {
    type Error = String;

    fn try_from(pattern: LayerPattern) -> Result<Self, String> {
        match (
            pattern.kinds.as_slice(),
            pattern.planes.as_slice(),
            pattern.families.as_slice(),
        ) {
            (&[kind], &[plane], &[family]) => Ok(Self(Layer {
                kind,
                plane,
                family,
            })),
            _ => Err(format!(
                "`{}` names several layers: write one, such as `mtu/pod/v4`",
                pattern.text
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<LayerPattern, String> {
        LayerPattern::try_from(text.to_owned())
    }

    const MTU: Layer = Layer {
        kind: ProbeKind::Mtu,
        plane: Plane::Pod,
        family: Family::V4,
    };

    #[test]
    fn a_layer_is_named_as_it_is_displayed_and_a_star_stands_for_any() {
        assert!(pattern(&MTU.to_string()).expect("a layer").names(MTU));
        assert!(pattern("*/*/*").expect("all").names(MTU));
        assert!(!pattern("mtu/host/v4").expect("another").names(MTU));
        let dns = pattern("dns-*/service/v4").expect("a few");
        assert_eq!(
            dns.kinds,
            [ProbeKind::DnsUdp, ProbeKind::DnsTcp, ProbeKind::DnsSearch]
        );
        assert_eq!(
            pattern("mtu/pod/v4").and_then(OneLayer::try_from),
            Ok(OneLayer(MTU))
        );
    }

    #[test]
    fn what_is_no_layer_is_refused_with_what_to_write() {
        let error = |text: &str| pattern(text).expect_err(text);
        assert!(error("mtu").contains("KIND/PLANE/FAMILY"));
        assert!(error("mut/pod/v4").contains("no kind of a layer: write one of udp, tcp, "));
        assert!(error("mtu/pot/v4").contains("pod, host, service"));
        assert!(error("mtu/pod/v5").contains("v4, v6"));
        let several = pattern("dns-*/pod/v4").and_then(OneLayer::try_from);
        assert!(several.expect_err("two").contains("several layers"));
    }
}
