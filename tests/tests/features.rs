//! Every feature that existing manifests name exists, with a description of its effect.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::fs;
use std::path::Path;

/// Crates, and the features that programs' manifests name. (For `pingora-cache`, TLS is irrelevant.)
const FEATURES: [(&str, &str); 5] = [
    (
        "pingora",
        "any_tls boringssl cache connection_filter default document-features lb openssl openssl_derived \
         patched_http1 proxy rustls s2n sentry time trace upstream_modules dial9 dial9-cpu-profiling \
         dial9-worker-s3",
    ),
    (
        "pingora-core",
        "any_tls boringssl connection_filter openssl openssl_derived patched_http1 rustls s2n sentry",
    ),
    (
        "pingora-proxy",
        "any_tls boringssl connection_filter openssl openssl_derived patched_http1 rustls s2n sentry trace \
         upstream_modules",
    ),
    (
        "pingora-load-balancing",
        "any_tls boringssl openssl openssl_derived rustls s2n v2",
    ),
    (
        "pingora-cache",
        "any_tls boringssl openssl openssl_derived rustls s2n trace",
    ),
];

/// Unsupported features, which must not be omitted silently.
const REFUSED: [&str; 3] = ["boringssl", "s2n", "sentry"];

/// Libraries that are there, whoever asks for them.
const LIBRARIES: [&str; 2] = ["openssl", "rustls"];

#[test]
fn every_feature_that_programs_name_exists() {
    for (name, expected) in FEATURES {
        let there = features(name);
        for feature in expected.split_whitespace() {
            assert!(
                there.iter().any(|(there, _)| there == feature),
                "{name} has no feature {feature}"
            );
        }
    }
}

#[test]
fn a_library_that_is_not_there_stops_the_build_whoever_asks_for_it() {
    let core = read("pingora-core/src/lib.rs");
    for feature in REFUSED {
        let refusal = format!("#[cfg(feature = \"{feature}\")]\ncompile_error!(");
        assert!(core.contains(&refusal), "{feature}");
        for name in ["pingora", "pingora-proxy", "pingora-load-balancing"] {
            let features = features(name);
            let asked = features.iter().find(|(there, _)| there == feature);
            // The balancer has no `sentry`.
            let Some((_, brings)) = asked else { continue };
            let passed_on = format!("\"pingora-core/{feature}\"");
            assert!(brings.contains(&passed_on), "{name}: {feature} = {brings}");
        }
    }
}

#[test]
fn a_library_that_is_there_comes_whoever_asks_for_it() {
    for library in LIBRARIES {
        for name in ["pingora", "pingora-proxy", "pingora-load-balancing"] {
            let features = features(name);
            let asked = features.iter().find(|(there, _)| there == library);
            let (_, brings) = asked.unwrap();
            let passed_on = format!("\"pingora-core/{library}\"");
            assert!(brings.contains(&passed_on), "{name}: {library} = {brings}");
        }
    }
}

#[test]
fn the_document_for_those_who_migrate_names_each_of_them() {
    let text = read("docs/migrating.md");
    let (_, table) = text.split_once("## Features").unwrap();
    for (_, features) in FEATURES {
        for feature in features
            .split_whitespace()
            .filter(|&name| name != "default")
        {
            assert!(table.contains(&format!("`{feature}`")), "{feature}");
        }
    }
}

/// The features of a crate: their names and what they enable, as in its manifest.
fn features(name: &str) -> Vec<(String, String)> {
    let manifest = read(&format!("{name}/Cargo.toml"));
    let lines = manifest.lines().skip_while(|line| *line != "[features]");
    let section = lines.skip(1).take_while(|line| !line.starts_with('['));
    let mut entries: Vec<(String, String)> = vec![];
    for line in section {
        match line.split_once(" = ") {
            Some((name, brings)) => entries.push((name.to_string(), brings.to_string())),
            // The lines of a list that is too long for one.
            None if line.starts_with(' ') => entries.last_mut().unwrap().1.push_str(line.trim()),
            None => {}
        }
    }
    entries
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
