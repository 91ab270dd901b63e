//! The content of caches.

use http::StatusCode;
use pingora_cache::inspect::{Inspector, Listing, Page};
use pingora_error::Result;

/// Answers `/api/cache/<name>?<query>` with JSON, or a line of text that says why not.
pub(crate) async fn look(
    caches: &[(String, Inspector)],
    name: &str,
    query: &str,
) -> Result<String, (StatusCode, String)> {
    let spelt = decoded(name);
    let is_it = |known: &str| known == name || spelt.as_deref() == Some(known);
    let Some((_, inspector)) = caches.iter().find(|(known, _)| is_it(known)) else {
        return Err((StatusCode::NOT_FOUND, "there is no such cache".to_owned()));
    };
    let question = Question::parse(query)
        .ok_or_else(|| (StatusCode::BAD_REQUEST, "the query is no good".to_owned()))?;
    let page = match question {
        Question::Uri(uri) => inspector.find_uri(&uri).await.map(|it| Page::new(it, None)),
        Question::Listing(listing) => inspector.list(&listing).await,
    };
    let written = page.map(|page| serde_json::to_string(&page).unwrap_or_default());
    written.map_err(|error| {
        log::warn!("the admin page can't look at the cache {name:?}: {error}");
        (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    })
}

#[derive(Debug)]
enum Question {
    Uri(String),
    Listing(Box<Listing>),
}

impl Question {
    /// `uri=…` alone, or any of `prefix=…`, `tag=…`, `limit=…` and `after=…`. `None` if there is anything else.
    fn parse(query: &str) -> Option<Self> {
        let (mut uri, mut parts) = (None, 0);
        let mut listing = Listing::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            let value = decoded(value)?;
            parts += 1;
            match name {
                "uri" => uri = Some(value),
                "prefix" => listing = listing.prefix(&value),
                "tag" => listing = listing.tag(&value),
                "limit" => listing = listing.limit(value.parse().ok()?),
                "after" => listing = listing.after(value.parse().ok()?),
                _ => return None,
            }
        }
        match uri {
            // A look-up of one URI would ignore the parts that narrow a listing.
            Some(uri) => (parts == 1).then_some(Question::Uri(uri)),
            None => Some(Question::Listing(Box::new(listing))),
        }
    }
}

/// Undoes what a browser does to a part of a query (`URLSearchParams`).
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_cache::MemCache;

    #[test]
    fn a_query_is_read_strictly() {
        for (query, good) in [
            ("", true),
            ("uri=https%3A%2F%2Fone.example%2F", true),
            ("prefix=https://one.example/&tag=a&limit=5", true),
            ("after=00-0123456789abcdef0123456789abcdef", true),
            ("uri=https://one.example/&tag=a", false),
            ("uri=https://one.example/&uri=https://two.example/", false),
            ("after=x", false),
            ("limit=many", false),
            ("tag=%4", false),
            ("tag=%zz", false),
            ("tag=%ff", false),
            ("tag", false),
            ("other=1", false),
        ] {
            assert_eq!(Question::parse(query).is_some(), good, "{query}");
        }
        assert_eq!(decoded("a%20b+c%2f%C3%A9").as_deref(), Some("a b c/é"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let memory = Box::leak(Box::new(MemCache::new()));
        let caches = [("edge / 1".to_owned(), Inspector::new(memory))];
        let page = look(&caches, "edge%20%2F%201", "").await.unwrap();
        assert_eq!(page, r#"{"entries":[],"next":null}"#);
        let caches = [("edge".to_owned(), Inspector::new(memory))];
        let page = look(&caches, "edge", "tag=news").await.unwrap();
        assert_eq!(page, r#"{"entries":[],"next":null}"#);
        let (status, _) = look(&caches, "other", "").await.unwrap_err();
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = look(&caches, "edge", "what").await.unwrap_err();
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}
