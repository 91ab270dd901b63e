//! Reading all that is counted.

use super::block;
use super::collect::{Collected, Family, ask_all};
use super::overall::Process;
use super::process;
use super::resets::Http2Resets;
use super::upstream::Upstream;

/// All that is counted in this process, at this moment, by name.
///
/// A reading takes no lock that counting takes. A count that is added meanwhile may be in it or not, so that figures which
/// belong together may differ by what was under way.
pub fn gather() -> Vec<Family> {
    let mut out = Collected::default();
    Process::enter();
    Upstream::enter();
    Http2Resets::enter();
    block::collect(&mut out);
    ask_all(&mut out);
    process::collect(&mut out);
    out.into_families()
}

/// The count of resets with these labels: the other end, the direction, the reason.
#[cfg(test)]
pub(crate) fn counted_resets(wanted: [&str; 3]) -> f64 {
    let families = gather();
    let mut found = families.iter();
    let family = found
        .find(|one| one.name == super::resets::RESETS[0].name)
        .unwrap();
    let has = |labels: &[(&str, String)]| labels.iter().map(|(_, v)| v).eq(wanted.iter());
    let mut series = family.series.iter();
    match series.find(|one| has(&one.labels)).unwrap().value {
        super::Value::Number(number) => number,
        super::Value::Histogram(_) => panic!("it is a counter"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::collect::Kind::{Counter, Histogram};
    use super::super::{
        listener_families::LISTENER, overall::PROCESS, resets::RESETS, upstream::UPSTREAM,
    };
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for spec in [LISTENER, UPSTREAM, PROCESS, RESETS].into_iter().flatten() {
            assert!(names.insert(spec.name), "{} is there twice", spec.name);
            assert!(spec.name.starts_with("pingora_") && spec.help.ends_with('.'));
            assert_eq!(
                spec.kind == Counter,
                spec.name.ends_with("_total"),
                "{}",
                spec.name
            );
            assert_eq!(
                spec.kind == Histogram,
                spec.name.ends_with("_seconds"),
                "{}",
                spec.name
            );
            let fits = spec
                .series
                .iter()
                .all(|values| values.len() == spec.labels.len());
            assert!(fits, "{}", spec.name);
        }
    }
}
