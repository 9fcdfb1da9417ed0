//! A virtual Kubernetes cluster in network namespaces, with real packets and reversible faults.
//!
//! `meshprobe demo` and the scenario runner build one, start the real daemons in it and break it. The lab itself is links,
//! routes, address translation, DNS servers and processes, and knows nothing of meshprobe; only [`mesh`] does.
//!
//! ```text
//!                        namespace internet   203.0.113.10 www · .11 registry · .20 webhook receiver · .30 proxy · .53 DNS
//!                                │ 203.0.113.0/24
//!            masquerade ┌────────┴────────── namespace fabric ───────────────────┐
//!                       │  router                                                │
//!                       │  bridge zone-a 172.30.1.1/24    zone-b 172.30.2.1/24   │
//!                       └────┬──────────────────┬────────────────┬───────────────┘
//!                            │ (port mesh-1)    │ (port mesh-3)  │ (port mesh-2)      underlay, MTU 1500
//!  ┌─ namespace mesh-1 ──────┴───────┐          │     ┌─ namespace mesh-2 ─┴───────────────┐
//!  │ eth0 172.30.1.11                │          │     │ eth0 172.30.2.12                   │
//!  │ flannel.1 10.244.1.0 ═══════════╪═ VXLAN, UDP 8472, vni 1, MTU 1450 ═ flannel.1 10.244.2.0
//!  │ nft: flannel (masquerade),      │                │ nft: the same                      │
//!  │      kube-proxy (virtual IPs,   │                │                                    │
//!  │      NodePort 30860)            │                │                                    │
//!  │ cni0 10.244.1.1/24 ─┬────────┐  │                │ cni0 10.244.2.1/24 ─┬────────┐     │
//!  └─────────────────────┼────────┼──┘                └─────────────────────┼────────┼─────┘
//!            namespace pod-mesh-1 │                             namespace pod-mesh-2 │
//!            eth0 10.244.1.2   namespace agg                    eth0 10.244.2.2   namespace dns-1
//!            (prober)          eth0 10.244.1.5                  (prober)          eth0 10.244.2.3
//!                              (aggregator :4860)                                 (unbound or coredns)
//!
//!  virtual IPs on every node:  10.96.0.10:53 → a DNS instance at random    10.96.0.20:4860 → aggregator
//!                              10.96.0.30:4862 → the responder of one of three probers at random
//!                              10.96.0.1:443 → the API server, port 6443 of mesh-1
//!  on every node's address:    :30860 → aggregator, masqueraded (the way home that needs no overlay route)
//! ```
//!
//! What the addresses are is in [`addressing`]; what can be broken is in [`fault`].
//!
//! A cluster of two families ([`LabSpec::families`]) has the same links and IPv6 addresses beside the others: `fd00:30:Z::` on the
//! underlay, `fd00:244:N::` in the pods and inside the same VXLAN, `fd00:96::` for virtual IPs, `2001:db8:113::` on the internet.
//!
//! # One packet on a link is one packet to a rule
//!
//! Virtual Ethernet hands on batches of TCP or UDP segments as if they were one packet. The lab's links carry none
//! (`gso_max_segs 1`), and `flannel.1` puts none together, so rules about sizes and losses see what a cable would carry.
//!
//! # Clean-up that cannot be forgotten
//!
//! [`enter()`] moves the caller's program into fresh network, mount and process namespaces (and a user namespace where it is not
//! root). `/run` is private there, so `/run/netns` and all that hangs on it exist only in that world; the first process of the
//! process namespace watches a pipe from the outside. Whoever dies, by whatever signal, the kernel removes the rest.
//!
//! # Pods of one node are routed, not bridged
//!
//! A pod has no connected route to its subnet, only one through `cni0`'s address (as the `ptp` CNI plugin writes it). So packets
//! between pods of one node pass the node's netfilter hooks, and address translation of virtual IPs works for a backend on the
//! same node without the `br_netfilter` module that an ordinary user cannot load.

pub mod addressing;
mod batch;
mod dns;
mod enter;
mod external;
pub mod fault;
mod lab;
mod lookup;
pub mod mesh;
mod namespace;
mod process;
mod raw;
mod script;
mod service;
mod spec;
mod tools;
mod wiring;

pub use batch::CommandError;
pub use enter::{EnterError, HostSocket, Inside, enter};
pub use external::{LabTarget, STATUSES};
pub use fault::{Fault, FaultError, Injected, ParseFaultError, ProberHook};
pub use lab::{Lab, LabError};
pub use lookup::{Lookup, Transport};
pub use namespace::NamespaceError;
pub use process::{Process, ProcessBuilder, ProcessError};
pub use service::{LabBackend, LabService};
pub use spec::{Families, LabSpec, Placement, SpecError};
pub use tools::ToolsError;
pub use wiring::{LabAggregator, LabDns, LabNode, LabZone};
