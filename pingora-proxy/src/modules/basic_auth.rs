//! Users and passwords (RFC 7617).

use super::cors::is_preflight;
use super::order;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_error::{Error, ErrorSource, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Lets only requests pass that bring the name and password of a user; others are answered with 401.
///
/// The upstream does not see the password. How long the comparison takes tells nothing about the users or their
/// passwords. The passwords travel in the clear: use it over TLS.
///
/// The builder of the module [`Authenticated`].
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_proxy::modules::BasicAuth;
///
/// # fn init(modules: &mut HttpModules, password: &str) -> pingora_error::Result<()> {
/// modules.add_module(Box::new(BasicAuth::new("staging")?.user("ada", password)?));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BasicAuth {
    challenge: HeaderValue,
    users: Arc<Vec<User>>,
    passes_on: bool,
    admits_preflight: bool,
}

#[derive(Clone)]
struct User {
    name: String,
    /// `NAME:PASSWORD`.
    credentials: Vec<u8>,
}

impl fmt::Debug for BasicAuth {
    /// The names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.users.iter().map(|user| &user.name).collect();
        f.debug_struct("BasicAuth").field("users", &names).finish()
    }
}

fn refused<T>(reason: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::InternalError, reason)
}

impl BasicAuth {
    /// Starts without users: all requests are refused. Users see the name of the realm.
    ///
    /// # Errors
    /// `InternalError` for a name that can't be sent.
    pub fn new(realm: &str) -> Result<Self> {
        if realm.contains(['"', '\\']) || !realm.is_ascii() {
            return refused("the realm has a quotation mark, a backslash, or what is not ASCII");
        }
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        let challenge = HeaderValue::from_str(&challenge);
        Ok(BasicAuth {
            challenge: challenge.or_err(ErrorType::InternalError, "the name of a realm")?,
            users: Arc::default(),
            passes_on: false,
            admits_preflight: false,
        })
    }

    /// Adds a user.
    ///
    /// # Errors
    /// `InternalError` for a name that is empty or holds a colon, an empty password, and control characters.
    pub fn user(mut self, name: &str, password: &str) -> Result<Self> {
        if name.is_empty() || name.contains(':') || password.is_empty() {
            return refused("a user needs a password, and a name without a colon");
        }
        if name.chars().chain(password.chars()).any(char::is_control) {
            return refused("a name or password holds a control character");
        }
        Arc::make_mut(&mut self.users).push(User {
            name: name.to_string(),
            credentials: format!("{name}:{password}").into_bytes(),
        });
        Ok(self)
    }

    /// Passes `Authorization` on to the upstream. Off by default.
    pub fn pass_on(mut self) -> Self {
        self.passes_on = true;
        self
    }

    /// Lets preflight requests (CORS) pass, which browsers send without a password. For programs that answer
    /// them themselves, as with [`CorsCheck::preflight`](super::CorsCheck::preflight): otherwise they reach the
    /// upstream. Off by default.
    pub fn admit_preflight(mut self) -> Self {
        self.admits_preflight = true;
        self
    }

    /// Whose credentials these are. All users are compared with, whichever it is.
    fn user_of(&self, request: &RequestHeader) -> Option<&str> {
        let mut fields = request.headers.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return None;
        };
        let (scheme, rest) = field.as_bytes().split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let given = STANDARD.decode(rest.trim_ascii()).ok()?;
        let mut found = None;
        for user in self.users.iter() {
            if is_same(&given, &user.credentials) {
                found = Some(user.name.as_str());
            }
        }
        found
    }
}

/// Whether both are the same, in a time that depends on the length of `given` alone.
fn is_same(given: &[u8], known: &[u8]) -> bool {
    let differs = given
        .iter()
        .zip(known.iter().cycle())
        .fold(0u8, |differs, (a, b)| {
            std::hint::black_box(differs | (a ^ b))
        });
    (differs == 0) & (given.len() == known.len())
}

impl HttpModuleBuilder for BasicAuth {
    fn order(&self) -> i16 {
        order::BASIC_AUTH
    }

    fn init(&self) -> Module {
        Box::new(Authenticated {
            rules: self.clone(),
            user: None,
            is_refused: false,
        })
    }
}

/// The user that [`BasicAuth`] has authenticated for a request.
#[derive(Debug)]
pub struct Authenticated {
    rules: BasicAuth,
    user: Option<String>,
    is_refused: bool,
}

impl Authenticated {
    /// The user's name. `None` before the request's head has passed the modules.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

#[async_trait]
impl HttpModule for Authenticated {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        let user = self.rules.user_of(request).map(str::to_string);
        let is_admitted = self.rules.admits_preflight && is_preflight(request);
        if user.is_none() && !is_admitted {
            self.is_refused = true;
            return Err(unauthorized());
        }
        self.user = user;
        if !self.rules.passes_on {
            request.remove_header(&AUTHORIZATION);
        }
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        if self.is_refused {
            response.insert_header(WWW_AUTHENTICATE, self.rules.challenge.clone())
        } else {
            Ok(())
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cold]
fn unauthorized() -> Box<Error> {
    let reason = "no user with this password";
    Error::create(
        ErrorType::HTTPStatus(401),
        ErrorSource::Downstream,
        Some(reason.into()),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> BasicAuth {
        let rules = BasicAuth::new("a realm").unwrap();
        let rules = rules.user("ada", "p:w \u{e9}").unwrap();
        rules.user("bob", "secret").unwrap()
    }

    fn module(rules: BasicAuth) -> Authenticated {
        Authenticated {
            rules,
            user: None,
            is_refused: false,
        }
    }

    fn request(values: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for value in values {
            request.append_header("Authorization", *value).unwrap();
        }
        request
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[tokio::test]
    async fn users_pass_with_their_password_and_nobody_else() {
        let bob = basic("bob:secret");
        let spelt = bob.replace("Basic ", "bASIC ");
        let cut = bob.trim_end_matches('=').to_string();
        let rows: [(&[&str], Option<&str>); 15] = [
            (&[&basic("ada:p:w \u{e9}")], Some("ada")),
            (&[&bob], Some("bob")),
            (&[&spelt], Some("bob")),
            (&[], None),
            (&[&bob, &bob], None),
            (&[&basic("bob:secre")], None),
            (&[&basic("bob:secrets")], None),
            (&[&basic("bob:secretbob:secret")], None),
            (&[&basic("ada:secret")], None),
            (&[&basic("bob:")], None),
            (&[&basic("")], None),
            (&["Basic"], None),
            (&["Basic !!"], None),
            (&[&cut], if cut == bob { Some("bob") } else { None }),
            (&["Bearer Ym9iOnNlY3JldA=="], None),
        ];
        for (values, user) in rows {
            let mut module = module(rules());
            let mut request = request(values);
            let outcome = module.request_header_filter(&mut request).await;
            assert_eq!(module.user(), user, "{values:?}");
            let mut response = ResponseHeader::build(401, None).unwrap();
            module
                .response_header_filter(&mut response, true)
                .await
                .unwrap();
            let challenge = response.headers.get("www-authenticate");
            match user {
                Some(_) => {
                    assert!(outcome.is_ok() && challenge.is_none());
                    assert!(request.headers.is_empty(), "the upstream doesn't see it");
                }
                None => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.etype(), &ErrorType::HTTPStatus(401));
                    assert_eq!(
                        challenge.unwrap(),
                        "Basic realm=\"a realm\", charset=\"UTF-8\""
                    );
                }
            }
        }
        let mut admitting = module(rules().admit_preflight());
        let mut preflight = request(&[]);
        preflight.set_method(http::Method::OPTIONS);
        preflight.insert_header("Origin", "https://a").unwrap();
        assert!(
            admitting
                .request_header_filter(&mut preflight)
                .await
                .is_err()
        );
        preflight
            .insert_header("Access-Control-Request-Method", "PUT")
            .unwrap();
        assert!(
            admitting
                .request_header_filter(&mut preflight)
                .await
                .is_ok()
        );
        preflight.set_method(http::Method::GET);
        assert!(
            admitting
                .request_header_filter(&mut preflight)
                .await
                .is_err()
        );

        let mut passing = module(rules().pass_on());
        let mut request = request(&[&bob]);
        passing.request_header_filter(&mut request).await.unwrap();
        assert_eq!(request.headers["authorization"], bob);
    }

    #[test]
    fn users_that_nobody_could_be_are_refused() {
        let add = |name, password| BasicAuth::new("r").unwrap().user(name, password).is_ok();
        assert!(add("a", "b") && add("a", "b:c"));
        for (name, password) in [
            ("", "b"),
            ("a:b", "c"),
            ("a", ""),
            ("a\n", "b"),
            ("a", "b\0"),
        ] {
            assert!(!add(name, password), "{name:?} {password:?}");
        }
        for realm in ["a\"b", "a\\", "a\r\n", "caf\u{e9}"] {
            assert!(BasicAuth::new(realm).is_err(), "{realm:?}");
        }
        let shown = format!("{:?}", rules());
        assert!(
            shown.contains("bob") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn only_what_is_the_same_is_the_same() {
        for (given, known, same) in [
            ("ab", "ab", true),
            ("", "ab", false),
            ("a", "ab", false),
            ("abab", "ab", false),
            ("aba", "ab", false),
            ("ac", "ab", false),
        ] {
            assert_eq!(is_same(given.as_bytes(), known.as_bytes()), same, "{given}");
        }
    }
}
