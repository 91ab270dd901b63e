//! Which certificate a client gets, by its name and by its abilities.

use super::*;
use crate::protocols::tls::KeyKind;
use crate::protocols::tls::names::normal;
use crate::protocols::tls::openssl::test_certificates::{Made, authority};
use openssl::symm::Cipher;
use std::path::PathBuf;
use std::time::Duration;

/// The abilities of a present-day client.
fn modern() -> ClientAbilities {
    ClientAbilities {
        signature_algorithms: vec![0x0403, 0x0503, 0x0807, 0x0804],
        tls13: true,
        ecdsa_ciphers: true,
    }
}

fn rsa_only() -> ClientAbilities {
    ClientAbilities {
        signature_algorithms: vec![0x0804, 0x0401],
        tls13: true,
        ecdsa_ciphers: false,
    }
}

/// The names in the certificate that the store has for this one.
fn shown(store: &CertificateStore, name: &str) -> Option<Vec<String>> {
    let name = (!name.is_empty()).then_some(name);
    store.pick(name, modern).map(|c| c.names().to_vec())
}

/// CVE-2026-27588: names are compared in their case, once there are more than a hundred.
#[test]
fn a_large_table_knows_names_in_any_case() {
    let names: Vec<String> = (0..101).map(|n| format!("Site{n}.Example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut table = super::names::NameTable::<usize>::new();
    for (index, name) in names.iter().enumerate() {
        *table.entry(&normal(name).unwrap()) = index;
    }
    for (index, name) in names.iter().enumerate() {
        for spelt in [name.to_uppercase(), name.to_lowercase(), format!("{name}.")] {
            assert_eq!(table.find(&spelt), (Some(&index), None), "{spelt}");
        }
    }
}

#[test]
fn exact_names_win_over_wildcards_and_the_first_is_the_default() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    assert!(shown(&store, "").is_none() && shown(&store, "a.example").is_none());
    for names in [
        &["one.example"][..],
        &["*.example"],
        &["b.example", "c.example"],
    ] {
        store.add(ca.issue(names, &[]).source()).unwrap();
    }
    for (asked, names) in [
        ("one.example", &["one.example"][..]),
        ("ONE.EXAMPLE", &["one.example"]),
        ("two.example", &["*.example"]),
        ("b.example", &["b.example", "c.example"]),
        ("c.example", &["b.example", "c.example"]),
        ("a.b.example", &["one.example"]),
        ("example", &["one.example"]),
        ("", &["one.example"]),
    ] {
        assert_eq!(shown(&store, asked).unwrap(), names, "{asked}");
    }
    store.refuse_unknown_names(true);
    assert_eq!(shown(&store, "a.b.example"), None);
    assert_eq!(shown(&store, "").unwrap(), ["one.example"]);
    assert_eq!(shown(&store, "two.example").unwrap(), ["*.example"]);
}

#[test]
fn names_and_the_default_can_be_said() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    store.add(ca.issue(&["one.example"], &[]).source()).unwrap();
    let two = ca.issue(&["two.example"], &[]).source();
    store
        .add(
            two.clone()
                .names(["Other.example", "*.other.example"])
                .as_default(),
        )
        .unwrap();
    assert_eq!(shown(&store, "x.other.example").unwrap(), ["two.example"]);
    assert_eq!(
        shown(&store, "two.example").unwrap(),
        ["two.example"],
        "as the default"
    );
    assert_eq!(shown(&store, "one.example").unwrap(), ["one.example"]);
    let error = store.add(two.names(["no name"])).unwrap_err();
    assert!(error.to_string().contains("`no name`"), "{error}");

    let listed = store.certificates();
    assert_eq!(listed[1].names, ["other.example", "*.other.example"]);
    assert_eq!(
        listed.iter().map(|c| c.is_default).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn each_client_gets_the_kind_of_key_that_it_can_use() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    for kind in [KeyKind::Rsa, KeyKind::EcdsaP256, KeyKind::Ed25519] {
        store
            .add(ca.issue_kind(kind, &["one.example"]).source())
            .unwrap();
    }
    store
        .add(ca.issue_kind(KeyKind::EcdsaP384, &["b.example"]).source())
        .unwrap();
    store
        .add(ca.issue_kind(KeyKind::Rsa, &["*.example"]).source())
        .unwrap();
    let kind = |name, client: fn() -> ClientAbilities| store.pick(name, client).unwrap().kind();
    assert_eq!(kind(Some("one.example"), modern), KeyKind::EcdsaP256);
    assert_eq!(kind(Some("one.example"), rsa_only), KeyKind::Rsa);
    // The default has its siblings.
    assert_eq!(kind(None, modern), KeyKind::EcdsaP256);
    assert_eq!(kind(None, rsa_only), KeyKind::Rsa);
    // A wildcard helps out if the exact name has nothing for the client.
    assert_eq!(kind(Some("b.example"), modern), KeyKind::EcdsaP384);
    assert_eq!(kind(Some("b.example"), rsa_only), KeyKind::Rsa);
    assert!(store.only().is_none());
}

#[test]
fn changes_are_made_as_a_whole() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    let first = ca.issue(&["one.example"], &[]);
    let id = store.add(first.source()).unwrap();
    let under_way = store.pick(None, modern).unwrap();
    assert!(Arc::ptr_eq(&under_way, &store.only().unwrap()));

    // The later one of the same kind wins.
    let second = ca.issue(&["one.example"], &[]);
    store.add(second.source()).unwrap();
    let fingerprint = |made: &Made| {
        let digest = made.cert.digest(openssl::hash::MessageDigest::sha256());
        digest.unwrap().to_vec()
    };
    let now = || store.pick(Some("one.example"), modern).unwrap();
    assert_eq!(now().fingerprint()[..], fingerprint(&second));
    assert!(store.remove(id) && !store.remove(id));
    assert_eq!(now().fingerprint()[..], fingerprint(&second));
    assert_eq!(under_way.fingerprint()[..], fingerprint(&first), "kept");

    let broken = CertificateSource::files("/nonexistent.pem", "/nonexistent.key");
    assert!(store.replace_all([first.source(), broken]).is_err());
    assert_eq!(store.certificates().len(), 1, "as it was");
    store
        .replace_all([ca.issue(&["x.example"], &[]).source()])
        .unwrap();
    assert_eq!(shown(&store, "one.example").unwrap(), ["x.example"]);
    store.replace_all([]).unwrap();
    assert!(shown(&store, "").is_none() && store.first_expiry().is_none());
}

#[test]
fn dates_can_be_read() {
    let ca = authority("ca");
    let store = CertificateStore::new();
    store.add(ca.issue(&["one.example"], &[]).source()).unwrap();
    let expired = ca.issue_expired(&["two.example"]).source();
    let error = store.add(expired.clone()).unwrap_err();
    assert!(error.to_string().contains("has expired"), "{error}");
    store.add(expired.allow_expired()).unwrap();

    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let good = &store.certificates()[0];
    assert!(good.not_before <= now && good.not_after > now + day);
    assert!(good.not_after < now + day * 3);
    assert_eq!(
        (good.kind, &*good.serial_number),
        (KeyKind::EcdsaP256, "C0FFEE")
    );
    assert!(store.first_expiry().unwrap() < now);
    assert!(store.certificates()[1].not_before < now - day);
}

/// A directory that goes with the value.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Puts a certificate and its key if `source` finds them.
    fn put(&self, made: &Made) -> CertificateSource {
        let chain = self.write("chain.pem", &made.cert_pem());
        let key = self.write("key.pem", &made.key_pem());
        CertificateSource::files(chain, key)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_cant_be_used_is_refused_with_file_and_reason() {
    let ca = authority("ca");
    let dir = Dir::new("faults");
    let (one, two) = (
        ca.issue(&["one.example"], &[]),
        ca.issue(&["two.example"], &[]),
    );
    let encrypted = one
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret");
    let pem = |name: &str, bytes: &[u8]| dir.write(name, bytes);
    let chain = pem("chain.pem", &one.cert_pem());
    let key = pem("key.pem", &one.key_pem());
    let other_key = pem("other-key.pem", &two.key_pem());
    let encrypted = pem("encrypted.pem", &encrypted.unwrap());
    let garbage = pem("garbage.pem", b"no PEM at all");
    let expired = pem("expired.pem", &ca.issue_expired(&["a.example"]).cert_pem());
    let wrong_order = [ca.cert_pem(), one.cert_pem()].concat();
    let wrong_order = pem("wrong-order.pem", &wrong_order);
    let missing = dir.0.join("missing.pem");
    let files = |chain: &PathBuf, key: &PathBuf| CertificateSource::files(chain, key);
    for (source, named, reason) in [
        (files(&missing, &key), "missing.pem", "No such file"),
        (files(&chain, &missing), "missing.pem", "No such file"),
        (files(&key, &key), "key.pem", "no certificate"),
        (files(&garbage, &key), "garbage.pem", "no certificate"),
        (files(&chain, &garbage), "garbage.pem", "no private key"),
        (files(&chain, &chain), "chain.pem", "no private key"),
        (
            files(&chain, &other_key),
            "other-key.pem",
            "does not belong",
        ),
        (files(&wrong_order, &key), "key.pem", "does not belong"),
        (files(&chain, &encrypted), "encrypted.pem", "is encrypted"),
        (files(&expired, &key), "expired.pem", "does not belong"),
        (
            files(&chain, &key).ocsp_file(&missing),
            "missing.pem",
            "No such file",
        ),
        (
            files(&chain, &key).ocsp_file(&garbage),
            "garbage.pem",
            "no OCSP response",
        ),
    ] {
        let error = CertificateStore::new().add(source).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.etype, TLS_CONF_ERR);
        assert!(text.contains(named) && text.contains(reason), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    CertificateStore::new().add(files(&chain, &key)).unwrap();
}

#[test]
fn a_reload_takes_what_is_new_or_leaves_everything() {
    let ca = authority("ca");
    let dir = Dir::new("reload");
    let store = CertificateStore::new();
    store
        .add(dir.put(&ca.issue(&["one.example"], &[])))
        .unwrap();
    store
        .add(ca.issue(&["memory.example"], &[]).source())
        .unwrap();
    store.reload().unwrap();

    dir.put(&ca.issue(&["two.example"], &[]));
    assert_eq!(shown(&store, "").unwrap(), ["one.example"], "not yet");
    let renewal = store.prepare_reload().unwrap();
    assert_eq!(shown(&store, "").unwrap(), ["one.example"], "not yet");
    // A certificate that is added in between stays.
    store
        .add(ca.issue(&["late.example"], &[]).source())
        .unwrap();
    renewal();
    assert_eq!(shown(&store, "two.example").unwrap(), ["two.example"]);
    assert_eq!(
        shown(&store, "one.example").unwrap(),
        ["two.example"],
        "gone"
    );
    assert_eq!(shown(&store, "late.example").unwrap(), ["late.example"]);
    assert_eq!(shown(&store, "memory.example").unwrap(), ["memory.example"]);

    // A half-written pair, and one that is over.
    dir.write("key.pem", &ca.issue(&["three.example"], &[]).key_pem());
    assert!(store.reload().is_err());
    dir.put(&ca.issue_expired(&["three.example"]));
    let error = store.reload().unwrap_err();
    assert!(error.to_string().contains("has expired"), "{error}");
    assert_eq!(shown(&store, "two.example").unwrap(), ["two.example"]);
}

#[test]
fn what_expired_in_use_does_not_keep_the_rest_from_being_reloaded() {
    let ca = authority("ca");
    let (old, new) = (Dir::new("old"), Dir::new("new"));
    let store = CertificateStore::new();
    let expired = old.put(&ca.issue_expired(&["old.example"]));
    store.add(expired.allow_expired()).unwrap();
    store.allow_expired(true).unwrap();
    assert!(store.allow_expired(false).is_err());
    store
        .add(new.put(&ca.issue(&["one.example"], &[])))
        .unwrap();
    new.put(&ca.issue(&["two.example"], &[]));
    store.reload().unwrap();
    assert_eq!(shown(&store, "two.example").unwrap(), ["two.example"]);
    assert_eq!(shown(&store, "old.example").unwrap(), ["old.example"]);
}

#[test]
fn no_key_is_ever_shown() {
    let ca = authority("ca");
    let made = ca.issue(&["one.example"], &[]);
    let store = CertificateStore::new();
    let source = made.source();
    store.add(source.clone()).unwrap();
    let loaded = store.only().unwrap();
    let text = format!("{source:?} {store:?} {loaded:?} {:?}", store.certificates());
    assert!(text.contains("one.example"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
    // Neither as bytes nor in hexadecimal.
    let secret = made.key.ec_key().unwrap().private_key().to_vec();
    let bytes = format!("{secret:?}").replace(['[', ']'], "");
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    assert!(!text.contains(&bytes) && !text.to_lowercase().contains(&hex));
    let pem_bytes = format!("{:?}", made.key_pem()).replace(['[', ']'], "");
    assert!(!text.contains(&pem_bytes));
}
