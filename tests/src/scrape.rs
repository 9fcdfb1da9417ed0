//! Fetches the `/metrics` page of a daemon.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

const PATIENCE: Duration = Duration::from_secs(5);

/// The page that the admin port at `admin` serves.
pub fn scrape(admin: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)
        .with_context(|| format!("connect to the admin port {admin}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("set a timeout")?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .context("ask for metrics")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("read the metrics")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the admin port speaks no HTTP")?;
    anyhow::ensure!(
        head.starts_with("HTTP/1.1 200"),
        "the admin port answers {}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}
