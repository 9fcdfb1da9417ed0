//! Real handshakes over loopback with certificates made for the test.

use std::{fs, path::Path};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    test_certificates::{Authority, Directory, client_files, server_files},
    *,
};

/// One handshake and one byte each way; the certificate that the server showed.
async fn handshake(server: &ServerTls, client: &ClientTls) -> std::io::Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(server.current());
    let serve = async {
        let mut stream = acceptor.accept(listener.accept().await?.0).await?;
        stream.write_all(b"!").await?;
        stream.shutdown().await
    };
    let connector = TlsConnector::from(client.current());
    let connect = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector
            .connect(name, TcpStream::connect(addr).await?)
            .await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    };
    let (accepted, connected) = tokio::join!(serve, connect);
    accepted.and(connected)
}

#[tokio::test]
async fn files_make_a_working_pair_and_a_renewal_is_shown_to_new_connections() {
    install_crypto_provider();
    let directory = Directory::new();
    let authority = Authority::new();
    let server = ServerTls::load(server_files(&directory, &authority), &["h2"]).unwrap();
    let client = ClientTls::load(client_files(&directory, &authority), &["h2"]).unwrap();
    let first = handshake(&server, &client).await.unwrap();
    assert!(matches!(server.poll(), Reloaded::Unchanged));

    server_files(&directory, &authority);
    assert!(matches!(server.poll(), Reloaded::Replaced));
    let second = handshake(&server, &client).await.unwrap();
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_bad_renewal_leaves_the_old_certificate_in_force_and_is_told_once() {
    let directory = Directory::new();
    let authority = Authority::new();
    let files = server_files(&directory, &authority);
    let server = ServerTls::load(files.clone(), &[]).unwrap();
    let client = ClientTls::load(client_files(&directory, &authority), &[]).unwrap();
    let good = handshake(&server, &client).await.unwrap();
    let refused = |expected: &str| match server.poll() {
        Reloaded::Refused(error) => assert!(error.to_string().contains(expected), "{error}"),
        other => panic!("{other:?}, expected {expected}"),
    };

    // Half of a renewal: the new certificate with the old key.
    directory.write("tls.crt", &authority.issue("localhost").0);
    refused("tls.crt");
    assert!(matches!(server.poll(), Reloaded::Unchanged), "told once");
    directory.write("tls.crt", "not a certificate");
    refused("expected a certificate in PEM");
    fs::remove_file(&files.key).unwrap();
    refused("tls.key");
    assert!(matches!(server.poll(), Reloaded::Unchanged), "told once");
    assert_eq!(handshake(&server, &client).await.unwrap(), good);

    server_files(&directory, &authority);
    assert!(matches!(server.poll(), Reloaded::Replaced), "mended");
}

#[tokio::test]
async fn a_client_without_the_required_certificate_is_refused() {
    let directory = Directory::new();
    let authority = Authority::new();
    let client_ca = Some(directory.write("clients.crt", &authority.pem()));
    let files = ServerTlsFiles {
        client_ca,
        ..server_files(&directory, &authority)
    };
    let anonymous = ClientTls::load(client_files(&directory, &authority), &[]).unwrap();
    let (cert, key) = authority.issue("client");
    let known = ClientTlsFiles {
        cert: Some(directory.write("client.crt", &cert)),
        key: Some(directory.write("client.key", &key)),
        ..client_files(&directory, &authority)
    };
    let known = ClientTls::load(known, &[]).unwrap();

    let strict = ServerTls::load(files.clone(), &[]).unwrap();
    handshake(&strict, &anonymous).await.unwrap_err();
    handshake(&strict, &known).await.unwrap();

    let lenient = ServerTlsFiles {
        client_auth: ClientAuth::Optional,
        ..files
    };
    let lenient = ServerTls::load(lenient, &[]).unwrap();
    handshake(&lenient, &anonymous).await.unwrap();
    handshake(&lenient, &known).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let directory = Directory::new();
    let server = ServerTls::load(server_files(&directory, &Authority::new()), &[]).unwrap();
    let client = ClientTls::load(client_files(&directory, &Authority::new()), &[]).unwrap();
    handshake(&server, &client).await.unwrap_err();
}

#[test]
fn a_start_with_bad_files_names_the_file() {
    let directory = Directory::new();
    let authority = Authority::new();
    let missing = ServerTlsFiles {
        key: Path::new("/nonexistent/tls.key").to_owned(),
        ..server_files(&directory, &authority)
    };
    let error = ServerTls::load(missing, &[]).unwrap_err().to_string();
    assert!(error.starts_with("read /nonexistent/tls.key: "), "{error}");
    let half = ClientTlsFiles {
        cert: Some(directory.file("tls.crt")),
        ..client_files(&directory, &authority)
    };
    let error = ClientTls::load(half, &[]).unwrap_err().to_string();
    assert_eq!(error, "cert and key belong together: write both or none");
}
