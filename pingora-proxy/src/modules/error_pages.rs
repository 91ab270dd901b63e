//! Error pages, for people and for programs.

use super::proxy_status;
use crate::{FailToProxy, Session};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, HeaderName, StatusCode};
use pingora_core::protocols::http::error_resp::gen_error_response;
use pingora_error::{Error, Result};
use std::fmt::Write;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Makes the bodies of error responses: HTML, or `application/problem+json` (RFC 9457) for clients that prefer
/// JSON. They say what the status means, and nothing about the error itself.
///
/// No module, but a value to be used if errors are answered:
///
/// ```
/// # use pingora_error::Error;
/// # use pingora_proxy::{FailToProxy, Session};
/// use pingora_proxy::modules::ErrorPages;
///
/// # struct Proxy { pages: ErrorPages }
/// # impl Proxy {
/// async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut ()) -> FailToProxy {
///     self.pages.fail(session, e).await
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ErrorPages {
    footer: String,
    /// The name of this proxy in `Proxy-Status`; empty: no such field.
    proxy: String,
}

/// The format of an error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
}

impl Form {
    /// The form that a client prefers; HTML if both are equally good.
    fn preferred(fields: &HeaderMap) -> Self {
        let mut best = [0u16; 2];
        let lines = fields.get_all(ACCEPT).iter();
        let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
        for range in lines.iter().flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1000, thousandths);
            let form = match media_type.as_str() {
                "text/html" | "application/xhtml+xml" | "text/*" => 0,
                "application/json" | "application/problem+json" => 1,
                _ => continue,
            };
            if let Some(best) = best.get_mut(form) {
                *best = quality.max(*best);
            }
        }
        let [html, json] = best;
        if json > html { Form::Json } else { Form::Html }
    }
}

/// A quality as thousandths (RFC 9110 section 12.4.2); 0 if it is invalid.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
        _ => 0,
    }
}

impl ErrorPages {
    /// Pages with nothing but the status.
    pub fn new() -> Self {
        ErrorPages::default()
    }

    /// Adds a line of text below pages in HTML, such as a contact address.
    pub fn with_footer(mut self, text: &str) -> Self {
        self.footer = escaped(text);
        self
    }

    /// Adds `Proxy-Status` (RFC 9209) to the answers of [`fail`](Self::fail): the name of this proxy, of which
    /// what can't be sent is dropped, and the type of the error, such as `connection_refused`. It tells clients
    /// something about what is behind the proxy.
    pub fn with_proxy_status(mut self, name: &str) -> Self {
        self.proxy = name.to_string();
        self
    }

    /// Answers with this status and a page, through the modules, unless a response has already begun. A code that
    /// is no error becomes 500.
    ///
    /// # Errors
    /// Those of writing the response.
    pub async fn respond(&self, session: &mut Session, code: u16) -> Result<()> {
        self.respond_about(session, code, None).await
    }

    async fn respond_about(
        &self,
        session: &mut Session,
        code: u16,
        error: Option<&Error>,
    ) -> Result<()> {
        let code = if (400..=999).contains(&code) {
            code
        } else {
            500
        };
        let mut head = gen_error_response(code);
        let form = Form::preferred(&session.req_header().headers);
        let (media_type, body) = self.page(head.status, form);
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static(media_type))?;
        head.append_header(VARY, HeaderValue::from_static("Accept"))?;
        if let Some(error) = error.filter(|_| !self.proxy.is_empty()) {
            let status = proxy_status::value(&self.proxy, error, code);
            head.insert_header(PROXY_STATUS, status)?;
        }
        session.respond_error_with(head, Bytes::from(body)).await
    }

    /// Answers a request that failed, as [`ProxyHttp::fail_to_proxy`](crate::ProxyHttp::fail_to_proxy) would by
    /// default but for the page, and returns what that has to return. A redirect, which
    /// [`Redirects`](super::Redirects) makes, gets no page.
    pub async fn fail(&self, session: &mut Session, error: &Error) -> FailToProxy {
        let verdict = FailToProxy::by_default(session, error);
        let answered = match verdict.error_code {
            0 => Ok(()),
            code @ 300..=399 => session.respond_error(code).await,
            code => self.respond_about(session, code, Some(error)).await,
        };
        if let Err(failed) = answered {
            log::debug!("the error page could not be sent: {failed}");
        }
        verdict
    }

    fn page(&self, status: StatusCode, form: Form) -> (&'static str, String) {
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        match form {
            // Reasons hold nothing that would have to be escaped.
            Form::Json => (
                "application/problem+json",
                format!("{{\"type\":\"about:blank\",\"title\":\"{reason}\",\"status\":{code}}}\n"),
            ),
            Form::Html => {
                let mut page = format!(
                    "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                     <title>{code} {reason}</title>\n<h1>{code} {reason}</h1>\n"
                );
                if !self.footer.is_empty() {
                    let _ = writeln!(page, "<p>{}</p>", self.footer);
                }
                page.push_str("</html>\n");
                ("text/html; charset=utf-8", page)
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn programs_get_what_they_ask_for_and_people_a_page() {
        let rows = [
            ("", Form::Html),
            ("*/*", Form::Html),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Html),
            ("application/json", Form::Json),
            ("application/problem+json;q=0.5", Form::Json),
            ("text/html, application/json", Form::Html),
            ("text/html;q=0.4, application/json; q=0.5", Form::Json),
            ("application/json;q=0", Form::Html),
            ("application/json;q=2", Form::Html),
            ("APPLICATION/JSON", Form::Json),
            ("image/png", Form::Html),
        ];
        for (accept, form) in rows {
            let mut fields = HeaderMap::new();
            fields.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::preferred(&fields), form, "{accept}");
        }
    }

    /// The response that a client reads if its request begins with `request` and is answered with `code`.
    async fn answer(request: &str, code: u16) -> String {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut session = Session::new_h1(Box::new(server));
        assert!(session.read_request().await.unwrap());
        let pages = ErrorPages::new().with_footer("<a & b>");
        pages.respond(&mut session, code).await.unwrap();
        // Only one answer is sent.
        pages.respond(&mut session, 500).await.unwrap();
        drop(session);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_page_says_the_status_and_no_more() {
        let html = answer("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 502).await;
        assert!(html.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{html}");
        assert!(html.contains("<h1>502 Bad Gateway</h1>"), "{html}");
        assert!(html.contains("&lt;a &amp; b&gt;"), "{html}");
        assert_eq!(html.matches("HTTP/1.1").count(), 1);
        let (head, body) = html.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(head.to_ascii_lowercase().contains(&length), "{head}");

        let ask = "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
        let json = answer(ask, 404).await;
        let expected = "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404}\n";
        assert!(json.ends_with(expected), "{json}");
        assert!(
            json.to_ascii_lowercase()
                .contains("content-type: application/problem+json")
        );

        let head = answer("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200).await;
        assert!(
            head.starts_with("HTTP/1.1 500 ") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
    }
}
