//! Keys are neither shown nor logged, unless a debugger was requested.

use super::*;
use crate::connectors::ConnectorOptions;
use crate::connectors::tls::Connector;
use crate::protocols::tls::ClientSettings;
use crate::protocols::tls::openssl::test_certificates::authority;
use crate::upstreams::peer::BasicPeer;
use crate::utils::tls::CertKey;
use std::path::PathBuf;

over_each_library! {
    no_private_key_is_shown,
    no_secret_of_a_session_is_shown,
    secrets_are_written_for_a_debugger_in_the_format_that_it_reads,
}

/// Every way in which a secret may be spelled in a text.
fn assert_hides(shown: &str, secret: &[u8]) {
    let debug = format!("{secret:?}");
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for spelling in [
        debug.trim_matches(['[', ']']),
        hex.as_str(),
        &hex.to_uppercase(),
        &String::from_utf8_lossy(secret),
        &secret.escape_ascii().to_string(),
        "PRIVATE KEY",
    ] {
        assert!(!shown.contains(spelling), "{shown}");
    }
}

async fn no_private_key_is_shown() {
    let ca = authority("ca");
    let made = ca.issue(&["client.example"], &[]);
    let key = made.key.ec_key().unwrap().private_key().to_vec();
    let cert_key = Arc::new(CertKey::new(vec![made.cert], made.key));
    let addr: SocketAddr = ([127, 0, 0, 1], 443).into();
    let mut peer = HttpPeer::new_mtls(addr, "one.example".to_string(), cert_key.clone());
    let password = b"Basic c2VjcmV0".to_vec();
    peer.options.extra_proxy_headers =
        [("Proxy-Authorization".to_string(), password.clone())].into();
    let mut basic = BasicPeer::new("127.0.0.1:443");
    basic.options = peer.options.clone();
    for shown in [
        format!("{cert_key:?} {cert_key:#?} {cert_key}"),
        format!("{peer:?} {peer:#?} {peer}"),
        format!("{:?} {:#?} {}", peer.options, peer.options, peer.options),
        format!("{basic:?} {basic:#?} {basic}"),
    ] {
        assert_hides(&shown, &key);
        assert_hides(&shown, &password);
    }
}

async fn no_secret_of_a_session_is_shown() {
    let ca = authority("ca");
    let addr = origin(&ca.issue(&["one.example"], &[]), |_| {}).await;
    let connector = new_connector();
    let peer = peer(addr, "one.example", &ca);
    let stream = connected(&connector, &peer).await.unwrap();
    let session = stream.get_ssl().map(|ssl| ssl.session().unwrap());
    let mut master = vec![0; session.map_or(0, |session| session.master_key_len())];
    if let Some(session) = session {
        session.master_key(&mut master);
        assert!(master.len() >= 32);
    }
    let shown = format!(
        "{connector:?} {:?} {:#?} {stream:?} {:?}",
        connector.tls,
        connector.tls,
        stream.get_ssl_digest()
    );
    if let Some(session) = session {
        assert_hides(&shown, &master);
        assert_hides(&shown, session.id());
    }
    assert!(shown.contains("sessions: 2"), "{shown}");
}

/// A file that is removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tls-secrets-{}-{name}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn secrets_are_written_for_a_debugger_in_the_format_that_it_reads() {
    let ca = authority("ca");
    let file = Scratch::new(&format!("keylog-{}", is_rustls()));
    let mut connector = new_connector();
    connector.tls = Connector::with_settings(ClientSettings {
        keylog_file: Some(file.0.clone()),
        ..ClientSettings::default()
    });
    choose_library(&connector.tls).unwrap();
    for (version, labels) in [
        (
            openssl::ssl::SslVersion::TLS1_3,
            &[
                "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                "CLIENT_TRAFFIC_SECRET_0",
                "SERVER_TRAFFIC_SECRET_0",
            ][..],
        ),
        (openssl::ssl::SslVersion::TLS1_2, &["CLIENT_RANDOM"]),
    ] {
        let addr = origin(&ca.issue(&["one.example"], &[]), |builder| {
            builder.set_max_proto_version(Some(version)).unwrap();
        })
        .await;
        let stream = connected(&connector, &peer(addr, "one.example", &ca))
            .await
            .unwrap();
        let log = std::fs::read_to_string(&file.0).unwrap();
        let mut random = [0; 32];
        let of_session = stream.get_ssl().map(|ssl| ssl.client_random(&mut random));
        let random: String = match of_session {
            Some(_) => random.iter().map(|byte| format!("{byte:02x}")).collect(),
            // The one of the newest line.
            None => log
                .lines()
                .last()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .to_string(),
        };
        for label in labels {
            // LABEL, the client's random, the secret.
            let line = log
                .lines()
                .find(|line| line.starts_with(&format!("{label} {random} ")));
            let secret = line
                .unwrap_or_else(|| panic!("{label}: {log}"))
                .rsplit(' ')
                .next();
            let secret = secret.unwrap();
            assert!(secret.len() >= 64 && secret.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
    // The file that the debugger reads is not readable by all users.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn nothing_is_written_unless_the_options_ask_for_it() {
    let mut options = ConnectorOptions::new(1);
    assert!(!options.debug_ssl_keylog);
    let variable = |name: &str| (name == "SSLKEYLOGFILE").then(|| "/run/keys".into());
    let settings = |options: &ConnectorOptions| Connector::settings(Some(options), variable);
    assert_eq!(settings(&options).keylog_file, None);
    assert_eq!(Connector::settings(None, variable).keylog_file, None);
    options.debug_ssl_keylog = true;
    assert_eq!(settings(&options).keylog_file, Some("/run/keys".into()));
    assert_eq!(
        Connector::settings(Some(&options), |_| None).keylog_file,
        None
    );
    let conf = crate::process::ServerConf {
        upstream_debug_ssl_keylog: true,
        ..Default::default()
    };
    assert!(ConnectorOptions::from_server_conf(&conf).debug_ssl_keylog);
}
