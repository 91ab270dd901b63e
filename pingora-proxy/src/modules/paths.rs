//! Rules about paths: which a path meets, and what it becomes. Pure.

/// The paths that a rule applies to.
#[derive(Clone, Debug)]
enum Pattern {
    /// This path and no other.
    Exact(String),
    /// This path and everything below it; without a slash at the end.
    Below(String),
}

/// A path that becomes another one.
#[derive(Clone, Debug)]
pub(super) struct PathRule {
    pattern: Pattern,
    to: String,
}

impl PathRule {
    pub(super) fn exact(from: &str, to: &str) -> Self {
        PathRule {
            pattern: Pattern::Exact(from.to_string()),
            to: to.to_string(),
        }
    }

    pub(super) fn below(from: &str, to: &str) -> Self {
        PathRule {
            pattern: Pattern::Below(from.trim_end_matches('/').to_string()),
            to: to.trim_end_matches('/').to_string(),
        }
    }

    /// The new form of a path with this query; `None`: the rule does not apply to it.
    ///
    /// Exactly one slash separates the part below the path: otherwise, browsers would take `//` or `/\` at the
    /// beginning of the result for another host, and the rest of a path would extend the host's name.
    pub(super) fn apply(&self, path: &str, query: Option<&str>) -> Option<String> {
        let mut result = self.to.clone();
        match &self.pattern {
            Pattern::Exact(from) => {
                if path != from {
                    return None;
                }
            }
            Pattern::Below(from) => {
                let rest = path.strip_prefix(from.as_str())?;
                if !rest.is_empty() && !rest.starts_with('/') {
                    return None;
                }
                let below = rest.trim_start_matches(['/', '\\']);
                if !rest.is_empty() || result.is_empty() {
                    result.push('/');
                }
                result.push_str(below);
            }
        }
        if let Some(query) = query.filter(|_| !self.to.contains('?')) {
            result.push('?');
            result.push_str(query);
        }
        Some(result)
    }
}

/// Whether some server may take a segment of this path for `.` or `..`. Servers differ in what they decode and
/// where they split: so `.`, `/` and `\` count percent-encoded too, once or twice, and what follows a `;` in a
/// segment does not count.
pub(super) fn has_dot_segment(path: &str) -> bool {
    let mut plain = path.to_ascii_lowercase();
    for (encoded, character) in [
        ("%25", "%"),
        ("%2e", "."),
        ("%2f", "/"),
        ("%5c", "\\"),
        ("%3b", ";"),
    ] {
        if plain.contains(encoded) {
            plain = plain.replace(encoded, character);
        }
    }
    plain.split(['/', '\\']).any(|segment| {
        let name = segment.split(';').next();
        matches!(name, Some("." | ".."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_whole_segments_and_its_result_names_no_other_host() {
        let exact = |from, to| PathRule::exact(from, to);
        let below = |from, to| PathRule::below(from, to);
        for (rule, path, query, expected) in [
            (exact("/a", "/b"), "/a", None, Some("/b")),
            (exact("/a", "/b"), "/a", Some("x=1"), Some("/b?x=1")),
            (exact("/a", "/b?y"), "/a", Some("x=1"), Some("/b?y")),
            (exact("/a", "/b"), "/a/", None, None),
            (below("/a", "/b"), "/a", None, Some("/b")),
            (below("/a", "/b"), "/a/", None, Some("/b/")),
            (below("/a/", "/b/"), "/a/c/d", Some(""), Some("/b/c/d?")),
            (below("/a", "/b"), "/ab", None, None),
            (below("/a", "/b"), "/A", None, None),
            (below("/a", "/"), "/a", None, Some("/")),
            (below("/a", "/"), "/a/c", None, Some("/c")),
            (
                below("/a", "/"),
                "/a//evil.example",
                None,
                Some("/evil.example"),
            ),
            (
                below("/a", "/"),
                "/a/\\/evil.example",
                None,
                Some("/evil.example"),
            ),
            (
                below("/", "/"),
                "//evil.example",
                None,
                Some("/evil.example"),
            ),
            (below("/", "/b"), "/", None, Some("/b/")),
            (
                below("/a", "https://b.example"),
                "/a/.evil.example",
                None,
                Some("https://b.example/.evil.example"),
            ),
        ] {
            let result = rule.apply(path, query);
            assert_eq!(result.as_deref(), expected, "{rule:?} {path} {query:?}");
        }
    }

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for path in [
            "/..",
            "/a/../b",
            "/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a\\..\\b",
            "/a%2F../b",
            "/a/..%2fb",
            "/a%2f%2e%2e%2fb",
            "/a/..%5Cb",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/%2e%2e%3bx/b",
            "/a/%252e%252E/b",
            "/a/..%252fb",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/",
            "/a.b/..c/d..",
            "/...",
            "/.well-known/x",
            "/%2e%2e%2e",
            "/a;..",
            "/100%25/a%2Fb",
            "/a%2f..b",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
