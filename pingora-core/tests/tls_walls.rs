//! Holds the walls around each TLS library: its name stands in its own folder and in the listed places.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose sources are read: all but `pingora-openssl`, which is there to name OpenSSL.
const CRATES: [&str; 16] = [
    "pingora",
    "pingora-access-log",
    "pingora-cache",
    "pingora-core",
    "pingora-error",
    "pingora-h2",
    "pingora-http",
    "pingora-ketama",
    "pingora-limits",
    "pingora-load-balancing",
    "pingora-lru",
    "pingora-memory-cache",
    "pingora-prometheus",
    "pingora-proxy",
    "pingora-runtime",
    "pingora-timeout",
];

/// Where the libraries live: these may name their own as they like.
const HOME: [&str; 8] = [
    "pingora-core/src/protocols/tls/openssl/",
    "pingora-core/src/protocols/tls/certificate/openssl/",
    "pingora-core/src/listeners/tls/openssl.rs",
    "pingora-core/src/sys/tls.rs",
    "pingora-core/src/sys/tls_context.rs",
    "pingora-core/src/tls/",
    "pingora-core/src/protocols/tls/rustls/",
    "pingora-core/src/protocols/tls/certificate/rustls/",
];

/// Words that stand for the library, and the files outside of its home that may contain them.
const WORDS: [(&[&str], &[&str]); 5] = [
    // The library's types. Kept for programs that want OpenSSL by name, and used by nothing else.
    (
        &["openssl::", "openssl_sys", "SslRef", "SslAcceptorBuilder"],
        &[
            "pingora-core/src/protocols/tls/library.rs",
            "pingora-core/src/protocols/tls/mod.rs",
        ],
    ),
    // The session object, by the names that belong to the kept interface.
    (
        &["TlsRef", "get_ssl("],
        &[
            "pingora-core/src/protocols/io.rs",
            "pingora-core/src/protocols/tls/accept.rs",
            "pingora-core/src/protocols/tls/library.rs",
            "pingora-core/src/protocols/tls/mod.rs",
        ],
    ),
    // Whether it is there.
    (
        &["feature = \"openssl\""],
        &[
            "pingora-core/src/connectors/tls.rs",
            "pingora-core/src/lib.rs",
            "pingora-core/src/listeners/tls.rs",
            "pingora-core/src/listeners/transport.rs",
            "pingora-core/src/protocols/tls/certificate/mod.rs",
            "pingora-core/src/protocols/tls/facts.rs",
            "pingora-core/src/protocols/tls/library.rs",
            "pingora-core/src/protocols/tls/mod.rs",
            "pingora-core/src/protocols/tls/store/mod.rs",
            "pingora-core/src/protocols/tls/x509.rs",
            "pingora-core/src/sys/mod.rs",
            "pingora-core/src/utils/tls.rs",
            // Not TLS: the library signs cookies as well.
            "pingora-load-balancing/src/sticky/mod.rs",
            "pingora-load-balancing/src/upstreams.rs",
            "pingora-core/src/connectors/http/mod.rs",
        ],
    ),
    // The types of rustls: its home alone.
    (&["rustls::", "webpki::", "aws_lc_rs"], RUSTLS),
    // Whether it is there.
    (
        &["feature = \"rustls\""],
        &[
            "pingora-core/src/listeners/tls.rs",
            "pingora-core/src/protocols/tls/certificate/mod.rs",
            "pingora-core/src/protocols/tls/client_hello.rs",
            "pingora-core/src/protocols/tls/library.rs",
            "pingora-core/src/protocols/tls/mod.rs",
            "pingora-core/src/protocols/tls/store/chosen.rs",
            "pingora-core/src/utils/tls.rs",
        ],
    ),
];

/// Where the module of rustls is taken up.
const RUSTLS: &[&str] = &["pingora-core/src/protocols/tls/mod.rs"];

#[test]
fn a_library_is_named_at_home_and_in_the_listed_places_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files: Vec<(String, String)> = CRATES
        .iter()
        .flat_map(|name| sources(&root.join(name).join("src")))
        .map(|path| {
            let text = code_of(&fs::read_to_string(&path).unwrap());
            (
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_string(),
                text,
            )
        })
        .filter(|(path, _)| !HOME.iter().any(|home| path.starts_with(home)) && !is_test(path))
        .collect();
    assert!(
        files.len() > 200,
        "only {} files: were the sources read?",
        files.len()
    );
    for (words, listed) in WORDS {
        let said = files
            .iter()
            .filter(|(_, text)| words.iter().any(|word| text.contains(word)));
        let said: BTreeSet<&str> = said.map(|(path, _)| &**path).collect();
        let listed = BTreeSet::from_iter(listed.iter().copied());
        let new: Vec<_> = said.difference(&listed).collect();
        assert!(
            new.is_empty(),
            "{words:?} stand outside of the walls: {new:?}"
        );
        let gone: Vec<_> = listed.difference(&said).collect();
        assert!(gone.is_empty(), "{words:?} stand here no more: {gone:?}");
    }
}

#[test]
fn the_homes_of_the_libraries_do_not_name_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (home, other) in [
        ("rustls", "openssl::"),
        ("certificate/rustls", "openssl::"),
        ("openssl", "rustls::"),
        ("certificate/openssl", "rustls::"),
    ] {
        let home = root.join("pingora-core/src/protocols/tls").join(home);
        for path in sources(&home) {
            let text = code_of(&fs::read_to_string(&path).unwrap());
            assert!(!text.contains(other), "{} names {other}", path.display());
        }
    }
}

#[test]
fn nothing_takes_a_library_s_session_for_encryption() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for path in CRATES
        .iter()
        .flat_map(|name| sources(&root.join(name).join("src")))
    {
        let text = code_of(&fs::read_to_string(&path).unwrap());
        // The default of the trait, which asks the digest first, is the one place.
        if !path.ends_with("protocols/io.rs") {
            assert!(!text.contains("get_ssl().is_some()"), "{}", path.display());
        }
    }
}

/// The text without comments and without the tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Tests speak with the library itself, as an independent peer.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
