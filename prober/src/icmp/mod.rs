//! ICMP echo, without privileges: the kernel's datagram sockets for echo requests, where `net.ipv4.ping_group_range` admits
//! this process's group. Off by default, for many networks treat ICMP differently from what applications send.

pub mod echo;
pub mod probe;
