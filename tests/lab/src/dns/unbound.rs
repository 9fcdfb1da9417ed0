//! Unbound's configuration.

use super::{DnsRole, TTL_SECONDS, Wrongs, record_type};
use crate::script::push;

pub(super) fn config(role: &DnsRole, wrongs: &Wrongs) -> String {
    // No user to change to (a user namespace may have only one), no chroot, no files outside of our own.
    // The times that a dead upstream is remembered are cut to seconds: a healed fault must show as healed.
    let mut config = format!(
        "server:\n\
         \x20 interface: {address}\n\
         \x20 port: 53\n\
         \x20 access-control: 0.0.0.0/0 allow\n\
         \x20 access-control: ::/0 allow\n\
         \x20 do-ip6: {do_ip6}\n\
         \x20 do-daemonize: no\n\
         \x20 username: \"\"\n\
         \x20 chroot: \"\"\n\
         \x20 directory: \"\"\n\
         \x20 pidfile: \"\"\n\
         \x20 use-syslog: no\n\
         \x20 logfile: \"\"\n\
         \x20 log-time-ascii: yes\n\
         \x20 verbosity: 1\n\
         \x20 num-threads: 1\n\
         \x20 outgoing-range: 128\n\
         \x20 num-queries-per-thread: 512\n\
         \x20 so-sndbuf: 0\n\
         \x20 so-reuseport: no\n\
         \x20 module-config: \"iterator\"\n\
         \x20 hide-identity: yes\n\
         \x20 hide-version: yes\n\
         \x20 cache-max-ttl: {TTL_SECONDS}\n\
         \x20 cache-max-negative-ttl: 1\n\
         \x20 infra-host-ttl: 2\n\
         \x20 infra-keep-probing: yes\n\
         \x20 infra-cache-max-rtt: 1000\n",
        address = role.address,
        do_ip6 = if role.address_v6.is_some() {
            "yes"
        } else {
            "no"
        },
    );
    if let Some(address) = role.address_v6 {
        push(&mut config, format_args!("  interface: {address}"));
    }
    if wrongs.fails {
        // Unbound asks nobody on the loopback unless it is told to: there is nobody left to ask, and it fails at once.
        config += "  do-not-query-localhost: yes\nforward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1\n";
    } else {
        push(
            &mut config,
            format_args!(
                "  local-zone: \"{zone}\" static\n  \
                 local-data: \"{zone} {TTL_SECONDS} IN SOA {zone} {zone} {serial} 7200 1800 86400 {TTL_SECONDS}\"",
                zone = role.zone,
                serial = wrongs.serial,
            ),
        );
        for (name, address) in role.present(wrongs) {
            push(
                &mut config,
                format_args!(
                    "  local-data: \"{name}. {TTL_SECONDS} IN {} {address}\"",
                    record_type(address)
                ),
            );
        }
        if let Some(forward) = role.forward {
            push(
                &mut config,
                format_args!("forward-zone:\n  name: \".\"\n  forward-addr: {forward}"),
            );
        }
    }
    config += "remote-control:\n  control-enable: no\n";
    config
}
