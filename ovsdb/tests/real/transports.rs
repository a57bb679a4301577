//! TCP and TLS, dialled and listened on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ovsdb::transport::Listener;
use ovsdb::{Event, Tls, session};
use tempfile::TempDir;

use crate::follower::{Follower, config};
use crate::schema;
use crate::server::{Server, run};

/// An authority and certificates signed by it, of the form that `ovs-pki` makes: no alternative names.
struct Pki {
    dir: TempDir,
}

impl Pki {
    fn create() -> Self {
        let dir = TempDir::new().unwrap();
        let pki = Self { dir };
        pki.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        pki
    }

    fn openssl(&self, arguments: &[&str]) {
        let here = |argument: &&str| {
            let file = [".key", ".pem", ".csr", ".ext"].iter().any(|kind| argument.ends_with(kind));
            if file { self.path(argument).display().to_string() } else { (*argument).to_owned() }
        };
        let arguments: Vec<_> = arguments.iter().map(here).collect();
        run("openssl", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn tls(&self, name: &str) -> Tls {
        let [key, request, certificate, extensions] =
            ["key", "csr", "pem", "ext"].map(|kind| format!("{name}.{kind}"));
        std::fs::write(self.path(&extensions), "basicConstraints=CA:FALSE\n").unwrap();
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &format!("/CN={name} id:1234"),
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
        Tls {
            private_key: self.path(&key),
            certificate: self.path(&certificate),
            ca_certificate: self.path("ca.pem"),
            peer_name: None,
        }
    }
}

fn secure_server(pki: &Pki, remote: &str) -> Server {
    let tls = pki.tls("server");
    let option = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
    Server::start_with(
        schema(),
        &[
            &format!("--remote={remote}"),
            &option("private-key", &tls.private_key),
            &option("certificate", &tls.certificate),
            &option("ca-cert", &tls.ca_certificate),
        ],
    )
}

fn connect(remote: &str, tls: Option<Tls>) -> Follower {
    let mut config = config(remote);
    config.tls = tls;
    Follower::spawn(config)
}

/// The whole chain of what went wrong.
async fn refusal(remote: &str, tls: Option<Tls>) -> String {
    let reason = connect(remote, tls).disconnect().await;
    let chain = std::iter::successors(Some(&*reason as &dyn std::error::Error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_server_is_dialled_by_tls_whatever_its_name() {
    let pki = Pki::create();
    let server = secure_server(&pki, "pssl:0:127.0.0.1");
    let remote = format!("ssl:127.0.0.1:{}", server.port());
    let mut follower = connect(&remote, Some(pki.tls("client")));
    follower.commit().await;
    let pinned = Tls { peer_name: Some("server id:1234".into()), ..pki.tls("client") };
    connect(&remote, Some(pinned)).commit().await;
}

#[tokio::test]
async fn a_server_of_another_name_or_authority_is_refused() {
    let pki = Pki::create();
    let server = secure_server(&pki, "pssl:0:127.0.0.1");
    let remote = format!("ssl:127.0.0.1:{}", server.port());
    let other = Tls { peer_name: Some("tor1".into()), ..pki.tls("client") };
    let told = refusal(&remote, Some(other)).await;
    assert_eq!(told, r#"peer's certificate has the names ["server id:1234"]; expected "tor1""#);
    let stranger = Pki::create();
    let told = refusal(&remote, Some(stranger.tls("client"))).await;
    assert!(told.to_lowercase().contains("handshake") && told.contains("invalid peer certificate"), "{told}");
}

#[tokio::test]
async fn missing_keys_are_told_by_their_file() {
    let told = refusal("ssl:127.0.0.1:1", None).await;
    assert_eq!(told, "remote ssl:127.0.0.1:1 needs a private key, a certificate and a CA certificate");
    let pki = Pki::create();
    let tls = Tls { ca_certificate: "/nonexistent/ca.pem".into(), ..pki.tls("client") };
    let told = refusal("ssl:127.0.0.1:1", Some(tls)).await;
    assert!(told.starts_with(r#"CA certificate in "/nonexistent/ca.pem" cannot be read"#), "{told}");
    let tls = Tls { certificate: pki.path("client.key"), ..pki.tls("client") };
    let told = refusal("ssl:127.0.0.1:1", Some(tls)).await;
    assert!(told.starts_with("certificate in ") && told.contains("client.key"), "{told}");
}

/// Makes the server dial a remote, by its table of managers.
fn dial(server: &Server, remote: &str) {
    server.transact(&format!(
        r#"["Things",{{"op":"insert","table":"Manager","uuid-name":"m","row":{{"target":"{remote}"}}}},
        {{"op":"insert","table":"Config","row":{{"managers":["named-uuid","m"]}}}},
        {{"op":"insert","table":"Thing","row":{{"name":"a"}}}}]"#
    ));
}

async fn listening(follower: &mut Follower) -> u16 {
    follower
        .until(|_, event| if let Event::Listening { address } = event { Some(address.port()) } else { None })
        .await
}

#[tokio::test]
async fn a_server_that_dials_us_is_followed_and_again_after_it_was_gone() {
    let mut server = Server::start_with(schema(), &["--remote=db:Things,Config,managers"]);
    let mut follower = Follower::spawn(config("ptcp:0:127.0.0.1"));
    let port = listening(&mut follower).await;
    dial(&server, &format!("tcp:127.0.0.1:{port}"));
    follower.commit().await;
    assert_eq!(follower.names(), BTreeSet::from(["a"]));
    server.stop();
    follower.disconnect().await;
    follower.changes.clear();
    server.restart();
    follower.commit().await;
    assert_eq!(follower.changes, []);
}

#[tokio::test]
async fn a_server_dials_us_by_tls() {
    let pki = Pki::create();
    let server = secure_server(&pki, "db:Things,Config,managers");
    let pinned = Tls { peer_name: Some("server id:1234".into()), ..pki.tls("manager") };
    let mut follower = connect("pssl:0:127.0.0.1", Some(pinned));
    let port = listening(&mut follower).await;
    dial(&server, &format!("ssl:127.0.0.1:{port}"));
    follower.commit().await;
    assert_eq!(follower.names(), BTreeSet::from(["a"]));
}

#[tokio::test]
async fn a_dialling_peer_without_our_authority_s_certificate_is_refused() {
    let (its, ours) = (Pki::create(), Pki::create());
    let server = secure_server(&its, "db:Things,Config,managers");
    let mut follower = connect("pssl:0:127.0.0.1", Some(ours.tls("manager")));
    let port = listening(&mut follower).await;
    dial(&server, &format!("ssl:127.0.0.1:{port}"));
    let reason = follower.disconnect().await;
    assert!(reason.to_string().starts_with("TLS handshake with ssl:127.0.0.1:"), "{reason}");
}

#[tokio::test]
async fn many_servers_may_dial_one_listener() {
    let listener = Listener::bind(&"ptcp:0:127.0.0.1".parse().unwrap(), None).await.unwrap();
    let remote = format!("tcp:{}", listener.address().unwrap());
    let servers = [(); 2].map(|()| Server::start_with(schema(), &["--remote=db:Things,Config,managers"]));
    for server in &servers {
        dial(server, &remote);
        let connection = listener.accept().await.unwrap().handshake().await.unwrap();
        let mut follower = Follower::over(session::spawn_on(connection, config(&remote)));
        follower.commit().await;
        assert_eq!(follower.names(), BTreeSet::from(["a"]));
    }
}
