//! The web server's configuration. Pure text.

use std::net::SocketAddr;
use std::path::Path;

use super::certificates::Files;
use super::{HTTP_PORT, HTTPS_PORT, LabTarget, STATUSES};
use crate::script::push;

/// Where the expired certificate is served.
pub(crate) const EXPIRED_PORT: u16 = 8443;
/// Where no client finds a cipher.
pub(crate) const NO_CIPHER_PORT: u16 = 8444;

/// Where every request is answered with this status.
pub(crate) fn status_port(status: u16) -> u16 {
    10_000 + status
}

/// The same with TLS.
pub(crate) fn tls_status_port(status: u16) -> u16 {
    20_000 + status
}

/// `nginx -c`. One process that serves: it changes to no other user and gives its directories to none (a user namespace may have
/// only one).
pub(super) fn config(target: &LabTarget, files: &Files, directory: &Path) -> String {
    let name = target.name;
    let mut config = preamble(name, files, directory);
    let site = format!(
        "location = / {{ return 200 \"{name} in the meshprobe lab\\n\"; }} \
         location = /healthz {{ return 200 \"ok\\n\"; }} \
         location = /moved {{ return 302 /; }} \
         location / {{ return 404; }}"
    );
    let mut server = |plain: Option<u16>, tls: u16, lines: std::fmt::Arguments<'_>| {
        let listen: Vec<String> = target
            .addresses()
            .flat_map(|address| {
                let plain = plain.map(|port| SocketAddr::new(address, port));
                let tls = SocketAddr::new(address, tls);
                let plain = plain.map(|end| format!("listen {end};"));
                plain.into_iter().chain([format!("listen {tls} ssl;")])
            })
            .collect();
        let listen = listen.join(" ");
        push(
            &mut config,
            format_args!("    server {{ {listen} {lines} }}"),
        );
    };
    server(Some(HTTP_PORT), HTTPS_PORT, format_args!("{site}"));
    server(
        None,
        EXPIRED_PORT,
        format_args!(
            "ssl_certificate {}; ssl_certificate_key {}; {site}",
            files.expired.display(),
            files.key.display()
        ),
    );
    // A cipher that needs an RSA key, which the certificate does not have: the server sends the alert `handshake_failure`.
    server(
        None,
        NO_CIPHER_PORT,
        format_args!("ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256; {site}"),
    );
    for status in STATUSES {
        server(
            Some(status_port(status)),
            tls_status_port(status),
            format_args!("return {status};"),
        );
    }
    config += "}\n";
    config
}

/// The API server: it says that it is well, and that everything else needs a login.
pub(super) fn api_server(
    name: &str,
    address: SocketAddr,
    files: &Files,
    directory: &Path,
) -> String {
    let mut config = preamble(name, files, directory);
    push(
        &mut config,
        format_args!(
            "    server {{ listen {address} ssl; \
             location = /healthz {{ return 200 ok; }} \
             location = /livez {{ return 200 ok; }} \
             location = /readyz {{ return 200 ok; }} \
             location / {{ return 401; }} }}\n}}"
        ),
    );
    config
}

/// Everything up to the first `server`, inside of `http`.
fn preamble(name: &str, files: &Files, directory: &Path) -> String {
    let directory = directory.display();
    let mut config = format!(
        "user root;\n\
         daemon off;\n\
         master_process off;\n\
         worker_processes 1;\n\
         pid {directory}/{name}.pid;\n\
         error_log stderr error;\n\
         events {{\n    worker_connections 1024;\n}}\n\
         http {{\n    access_log off;\n    server_tokens off;\n    default_type text/plain;\n    keepalive_timeout 5s;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        push(
            &mut config,
            format_args!("    {kind}_temp_path {directory}/{name}.{kind};"),
        );
    }
    push(
        &mut config,
        format_args!(
            "    ssl_certificate {};\n    ssl_certificate_key {};",
            files.valid.display(),
            files.key.display()
        ),
    );
    config
}
