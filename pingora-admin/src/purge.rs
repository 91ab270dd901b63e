//! Purging the cache of a program.

use std::fmt;

/// The part of a cache to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge {
    /// Everything.
    All,
    /// Every response with this tag.
    Tag(String),
    /// Every response of a scheme and an authority, such as `https` and `one.example`.
    Host {
        /// Before `://`.
        scheme: String,
        /// Behind it.
        authority: String,
    },
    /// Every response whose URI begins like this.
    Prefix(String),
}

impl Purge {
    /// `None`: nobody can have meant that.
    pub(crate) fn parse(what: &str, value: Option<&str>) -> Option<Self> {
        let value = value.map(str::trim).unwrap_or_default();
        if value.contains(char::is_control) || (what == "all") != value.is_empty() {
            return None;
        }
        match what {
            "all" => Some(Purge::All),
            "tag" => Some(Purge::Tag(value.to_owned())),
            "host" => {
                let (scheme, authority) = value.split_once("://")?;
                let is_origin = !scheme.is_empty() && !authority.is_empty();
                (is_origin && !authority.contains('/')).then(|| Purge::Host {
                    scheme: scheme.to_owned(),
                    authority: authority.to_owned(),
                })
            }
            "prefix" => value
                .contains("://")
                .then(|| Purge::Prefix(value.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purge::All => f.write_str("everything"),
            Purge::Tag(tag) => write!(f, "the tag {tag}"),
            Purge::Host { scheme, authority } => write!(f, "{scheme}://{authority}"),
            Purge::Prefix(prefix) => write!(f, "what begins with {prefix}"),
        }
    }
}

/// Purges the cache of a program. Every closure of this form is one.
pub trait Purger: Send + Sync {
    /// Purges it. Called in the thread of the page, which may wait for a file meanwhile.
    ///
    /// # Errors
    /// A line of text for the operator.
    fn purge(&self, what: &Purge) -> Result<(), String>;
}

impl<F> Purger for F
where
    F: Fn(&Purge) -> Result<(), String> + Send + Sync,
{
    fn purge(&self, what: &Purge) -> Result<(), String> {
        self(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clear_is_purged() {
        let rows = [
            ("all", None, true),
            ("all", Some(""), true),
            // Somebody meant less.
            ("all", Some("news"), false),
            ("tag", Some("news"), true),
            ("tag", Some(" "), false),
            ("tag", None, false),
            ("tag", Some("a\nb"), false),
            ("host", Some("https://one.example"), true),
            ("host", Some("one.example"), false),
            ("host", Some("https://one.example/news/"), false),
            ("host", Some("https://"), false),
            ("prefix", Some("https://one.example/news/"), true),
            ("prefix", Some("/news/"), false),
            ("", Some("news"), false),
            ("ALL", None, false),
        ];
        for (what, value, good) in rows {
            assert_eq!(
                Purge::parse(what, value).is_some(),
                good,
                "{what} {value:?}"
            );
        }
        let host = Purge::parse("host", Some("https://one.example"));
        let host = host.map(|host| host.to_string());
        assert_eq!(host.as_deref(), Some("https://one.example"));
    }
}
