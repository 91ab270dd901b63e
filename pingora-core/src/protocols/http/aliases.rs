//! Field names that some servers confuse with another one: `X_Forwarded_For` with
//! `X-Forwarded-For`.
//!
//! Upstreams trust the fields that a proxy removes from a request or sets in it. If a client can send such a field
//! under a name that the server accepts but the proxy does not recognise, it speaks in the proxy's name. Such names are
//! therefore removed ([`is_taken_for`] defines them): by default those of the fields that every proxy relies on
//! (framing, forwarding, identity: [`is_relied_on`](pingora_http::is_relied_on)), in requests over any version of HTTP
//! on either side. Trailers follow the same rule. [`AliasPolicy`] adds a program's own fields.
//!
//! Pure functions. A head without such names costs nothing: they are detected where names are classified
//! anyway.

use http::HeaderMap;
use http::header::HeaderName;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::grammar::{has_odd_separators, is_taken_for};
use pingora_http::{ControlField, RequestHeader};
use std::sync::Arc;

/// The treatment of a name that may be confused with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAlias {
    /// The field passes.
    Pass,
    /// The field is removed.
    Drop,
    /// The request gets 400; a trailer is removed.
    Refuse,
}

/// The treatment, before a request goes upstream, of names that may be confused with others.
///
/// ```
/// use pingora_core::protocols::http::aliases::{AliasPolicy, OnAlias};
///
/// // `X-Tenant` is set in `upstream_request_filter`, or removed: what a client says of it does not pass under
/// // any name.
/// let policy = AliasPolicy::standard().protect("x-tenant");
/// // As nginx does by default.
/// let policy = AliasPolicy::standard().others(OnAlias::Drop);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasPolicy {
    relied_on: OnAlias,
    others: OnAlias,
    protected: Arc<[HeaderName]>,
}

impl AliasPolicy {
    /// Drops names that may be confused with fields that every proxy relies on; all others pass. The
    /// default.
    pub fn standard() -> Self {
        AliasPolicy {
            relied_on: OnAlias::Drop,
            others: OnAlias::Pass,
            protected: Arc::new([]),
        }
    }

    /// Sets the treatment of names that may be confused with fields that every proxy relies on, or with
    /// [protected](Self::protect) ones. [`OnAlias::Pass`] is for upstreams that are known to tell names apart.
    #[must_use]
    pub fn relied_on(mut self, on_alias: OnAlias) -> Self {
        self.relied_on = on_alias;
        self
    }

    /// Sets the treatment of all other names with a byte that is neither a letter, a digit nor a
    /// hyphen.
    #[must_use]
    pub fn others(mut self, on_alias: OnAlias) -> Self {
        self.others = on_alias;
        self
    }

    /// Treats this field as relied on, because the program sets or removes it itself. Names that may be
    /// confused with it do not pass, and a trailer with its name doesn't either. The field itself is left to
    /// the program: remove it, or set it.
    ///
    /// # Panics
    /// If the name is not a field name in lower case, as [`HeaderName::from_static`] does.
    #[must_use]
    pub fn protect(mut self, name: &'static str) -> Self {
        let one = [HeaderName::from_static(name)];
        self.protected = self.protected.iter().cloned().chain(one).collect();
        self
    }

    /// The treatment of names that may be confused with fields that every proxy relies on, for
    /// [`prepare_aliased_request`](super::hop_by_hop::prepare_aliased_request).
    pub fn on_relied_on(&self) -> OnAlias {
        self.relied_on
    }

    /// Applies the policy's own rules, beyond the standard ones, to the head of a request.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, the client's fault, if a name is to be refused.
    pub fn apply(&self, request: &mut RequestHeader) -> Result<()> {
        if self.others == OnAlias::Pass && self.protected.is_empty() {
            return Ok(());
        }
        let mut dropped = Vec::new();
        for name in request.headers.keys() {
            match self.verdict(name) {
                OnAlias::Pass => {}
                OnAlias::Drop => dropped.push(name.clone()),
                OnAlias::Refuse => return Err(refused_alias()),
            }
        }
        for name in &dropped {
            request.remove_header(name);
        }
        Ok(())
    }

    /// Removes protected names, and names that the policy does not let pass, from a request's trailers.
    /// `None`: no trailers are left.
    pub fn apply_to_trailers(&self, trailers: Box<HeaderMap>) -> Option<Box<HeaderMap>> {
        let stays = |name: &HeaderName| {
            self.verdict(name) == OnAlias::Pass && !self.protected.contains(name)
        };
        if trailers.keys().all(stays) {
            return Some(trailers);
        }
        let mut left = HeaderMap::with_capacity(trailers.len());
        for (name, value) in trailers.iter().filter(|(name, _)| stays(name)) {
            left.append(name.clone(), value.clone());
        }
        (!left.is_empty()).then(|| Box::new(left))
    }

    fn verdict(&self, name: &HeaderName) -> OnAlias {
        let name = name.as_str().as_bytes();
        if !has_odd_separators(name) {
            return OnAlias::Pass;
        }
        let is_alias = |field: &HeaderName| is_taken_for(name, field.as_str().as_bytes());
        let is_relied_on = ControlField::of(name) == Some(ControlField::Alias);
        if is_relied_on || self.protected.iter().any(is_alias) {
            self.relied_on
        } else {
            self.others
        }
    }
}

impl Default for AliasPolicy {
    fn default() -> Self {
        Self::standard()
    }
}

/// Removes a field, and every name that may be confused with it: for filters that must not leave this to the
/// policy.
pub fn remove_with_aliases(request: &mut RequestHeader, name: &HeaderName) {
    request.remove_header(name);
    remove_all(request, |other| {
        is_taken_for(other.as_str().as_bytes(), name.as_str().as_bytes())
    });
}

/// Removes the names that may be confused with fields that are relied on.
#[cold]
pub(super) fn drop_aliases(request: &mut RequestHeader) {
    remove_all(request, |name| {
        ControlField::of(name.as_str().as_bytes()) == Some(ControlField::Alias)
    });
}

fn remove_all(request: &mut RequestHeader, is_gone: impl Fn(&HeaderName) -> bool) {
    let names = request.headers.keys().filter(|name| is_gone(name));
    for name in names.cloned().collect::<Vec<_>>() {
        request.remove_header(&name);
    }
}

#[cold]
pub(super) fn refused_alias() -> Box<Error> {
    let why = "a field name may be taken for another one";
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_down()
}

#[cfg(test)]
mod tests {
    use super::super::hop_by_hop::{HttpUpstreamRequestPolicy, prepare_aliased_request};
    use super::*;
    use http::{HeaderValue, Version};

    fn request(names: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in names {
            request.append_header(name.to_string(), "evil").unwrap();
        }
        request
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    /// The remaining names; `None` if the request is refused.
    fn left(policy: &AliasPolicy, fields: &[&str]) -> Option<Vec<String>> {
        let mut request = request(fields);
        let hops = HttpUpstreamRequestPolicy::standard();
        policy.apply(&mut request).ok()?;
        let on_alias = policy.on_relied_on();
        prepare_aliased_request(&mut request, &hops, Version::HTTP_11, on_alias).ok()?;
        let left = names(&request.headers);
        Some(left.into_iter().map(String::from).collect())
    }

    /// CVE-2026-33433, CVE-2026-54763, CVE-2026-39858, GHSA-f59h.
    #[test]
    #[rustfmt::skip]
    fn what_is_left_by_policy() {
        let standard = AliasPolicy::standard();
        let own = AliasPolicy::standard().protect("x-tenant").protect("x-plan");
        let refuses = AliasPolicy::standard().relied_on(OnAlias::Refuse).protect("x-tenant");
        let none_at_all = AliasPolicy::standard().others(OnAlias::Drop);
        let strictest = AliasPolicy::standard().others(OnAlias::Refuse);
        let lax = AliasPolicy::standard().relied_on(OnAlias::Pass);
        let rows: &[(&AliasPolicy, &str, Option<&str>)] = &[
            (&standard, "x_forwarded_for x-forwarded-for", Some("x-forwarded-for")),
            (&standard, "X_Forwarded_Proto X.Real.Ip x-real_ip Content_Length transfer_encoding a", Some("a")),
            (&standard, "x_tenant a_b", Some("x_tenant a_b")),
            (&own, "x_tenant X.Plan x-tenant a_b x_real_ip", Some("x-tenant a_b")),
            (&refuses, "x_tenant", None),
            (&refuses, "x_real_ip", None),
            (&refuses, "a_b x-tenant", Some("a_b x-tenant")),
            (&none_at_all, "x_tenant a_b a-b x_real_ip", Some("a-b")),
            (&strictest, "a_b", None),
            (&strictest, "x_real_ip a-b", Some("a-b")),
            (&lax, "x_real_ip a_b", Some("x_real_ip a_b")),
        ];
        for (policy, fields, expected) in rows {
            let fields: Vec<&str> = fields.split(' ').collect();
            let found = left(policy, &fields).map(|mut names| { names.sort(); names.join(" ") });
            let expected = expected.map(|names| {
                let mut names: Vec<&str> = names.split(' ').collect();
                names.sort_unstable();
                names.join(" ")
            });
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn who_leaves_every_field_alone_leaves_aliases_alone() {
        let mut request = request(&["x_real_ip"]);
        let hops = HttpUpstreamRequestPolicy::preserve();
        for on_alias in [OnAlias::Drop, OnAlias::Refuse, OnAlias::Pass] {
            prepare_aliased_request(&mut request, &hops, Version::HTTP_11, on_alias).unwrap();
            assert_eq!(names(&request.headers), ["x_real_ip"]);
        }
    }

    #[test]
    fn a_protected_field_does_not_come_back_as_a_trailer() {
        let policy = AliasPolicy::standard().protect("x-tenant");
        let trailers = |names: &[&'static str]| {
            let mut trailers = HeaderMap::new();
            for name in names {
                let name = HeaderName::from_static(name);
                trailers.append(&name, HeaderValue::from_static("1"));
                trailers.append(&name, HeaderValue::from_static("2"));
            }
            Box::new(trailers)
        };
        let left = policy.apply_to_trailers(trailers(&["x-tenant", "x_tenant", "x-sum", "a_b"]));
        let left = left.unwrap();
        assert_eq!((left.len(), left.keys_len()), (4, 2));
        assert!(left.contains_key("x-sum") && left.contains_key("a_b"));
        assert!(policy.apply_to_trailers(trailers(&["x.tenant"])).is_none());
        let none_at_all = policy.others(OnAlias::Refuse);
        assert!(none_at_all.apply_to_trailers(trailers(&["a_b"])).is_none());
    }

    #[test]
    fn a_filter_may_remove_a_field_with_all_its_names() {
        let mut request = request(&["X-Tenant", "x_tenant", "x.tenant", "x-tenants", "xtenant"]);
        remove_with_aliases(&mut request, &HeaderName::from_static("x-tenant"));
        let mut left = names(&request.headers);
        left.sort_unstable();
        assert_eq!(left, ["x-tenants", "xtenant"]);
    }
}
