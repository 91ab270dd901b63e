//! One order: from a list of names to a chain of certificates.

use crate::answers::{Answers, Question, Shown};
use crate::issuer::problem;
use crate::keys::CertificateKey;
use crate::nonces::with_fresh_nonce;
use crate::plan::{self, Challenge};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error as AcmeError, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use std::time::Duration;

/// How long an authority may take to look, and to issue: at first it is asked after half a second.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));
/// The pause after the authority has reported too many requests.
const RATE_LIMITED: Duration = Duration::from_secs(3600);

/// The certificate to be ordered.
pub(crate) struct Wanted<'a> {
    pub(crate) names: &'a [String],
    pub(crate) profile: Option<&'a str>,
    pub(crate) replaces: Option<&'a CertificateIdentifier<'static>>,
    pub(crate) key: CertificateKey,
    pub(crate) preference: &'a [Challenge],
    /// How often it has failed before.
    pub(crate) failures: u32,
}

/// The issued certificate.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// A failed order.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: BError,
    /// For how long a retry makes no sense.
    pub(crate) wait: Duration,
    /// The authority does not know us.
    pub(crate) account_is_gone: bool,
}

impl From<BError> for Failed {
    fn from(error: BError) -> Self {
        Failed {
            error,
            wait: Duration::ZERO,
            account_is_gone: false,
        }
    }
}

impl Failed {
    fn of(e: AcmeError, doing: &'static str) -> Self {
        let kind = problem(&e);
        let wait = match kind {
            Some("rateLimited") => RATE_LIMITED,
            _ => Duration::ZERO,
        };
        let account_is_gone = kind == Some("accountDoesNotExist");
        Failed {
            error: Error::because(ErrorType::InternalError, doing, e),
            wait,
            account_is_gone,
        }
    }
}

/// Obtains a certificate. Answers are removed again in every case, except that those in the DNS stay if the future
/// is dropped.
///
/// # Errors
/// With the authority's reason.
pub(crate) async fn obtain(
    account: &Account,
    answers: &Answers,
    wanted: &Wanted<'_>,
) -> Result<Issued, Failed> {
    let identifiers: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = place(account, &identifiers, wanted).await?;
    let mut shown = vec![];
    let proven = prove(&mut order, answers, wanted, &mut shown).await;
    for answer in shown {
        answer.withdraw().await;
    }
    proven?;
    let (request, key) = signing_request(wanted).await?;
    let finalized = with_fresh_nonce!(order.finalize_csr(&request));
    finalized.map_err(|e| Failed::of(e, "finalizing the order"))?;
    let chain = with_fresh_nonce!(fetch(&mut order));
    let chain = chain.map_err(|e| Failed::of(e, "waiting for the certificate"))?;
    Ok(Issued { chain, key })
}

/// Fetches the chain once it is issued.
async fn fetch(order: &mut Order) -> Result<String, AcmeError> {
    // It may be only the chain itself that was not sent the last time.
    if order.state().status != OrderStatus::Valid {
        return order.poll_certificate(&PATIENCE).await;
    }
    let chain = order.certificate().await?;
    chain.ok_or(AcmeError::Str("a valid order has no certificate"))
}

async fn place(
    account: &Account,
    identifiers: &[Identifier],
    wanted: &Wanted<'_>,
) -> Result<Order, Failed> {
    let order = async |replaces: Option<&CertificateIdentifier<'static>>| {
        let mut order = NewOrder::new(identifiers);
        if let Some(profile) = wanted.profile {
            order = order.profile(profile);
        }
        if let Some(replaces) = replaces {
            order = order.replaces(replaces.clone());
        }
        with_fresh_nonce!(account.new_order(&order))
    };
    let placed = match order(wanted.replaces).await {
        // Replaced by another host, or not from there (RFC 9773 section 5): an order like any other, then.
        Err(e) if wanted.replaces.is_some() && problem(&e) != Some("rateLimited") => {
            log::debug!("an order that replaces another was refused: {e}");
            order(None).await
        }
        placed => placed,
    };
    placed.map_err(|e| Failed::of(e, "placing an order"))
}

/// Asks what there is to prove, as far as that is not known yet; the order keeps it.
async fn ask(order: &mut Order) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// Proves that the names are ours.
async fn prove(
    order: &mut Order,
    answers: &Answers,
    wanted: &Wanted<'_>,
    shown: &mut Vec<Shown>,
) -> Result<(), Failed> {
    let asked = with_fresh_nonce!(ask(order));
    asked.map_err(|e| Failed::of(e, "asking what to prove"))?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|e| Failed::of(e, "asking what to prove"))?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(refused(format!("an authorization is {status:?}"))),
        }
        let proven = authorization.identifier();
        let is_wildcard = proven.wildcard;
        let Identifier::Dns(name) = proven.identifier.clone() else {
            return Err(refused(format!("an authorization is for {proven}")));
        };
        let offered = |c: Challenge| {
            let is_it = |offered: &instant_acme::Challenge| offered.r#type == c.kind();
            authorization.challenges.iter().any(is_it)
        };
        let chosen = plan::choose(wanted.preference, offered, is_wildcard, wanted.failures);
        let Some(challenge) = chosen else {
            let offered: Vec<_> = authorization.challenges.iter().map(|c| &c.r#type).collect();
            return Err(refused(format!(
                "of {offered:?} none can be answered for {name}"
            )));
        };
        let Some(mut handle) = authorization.challenge(challenge.kind()) else {
            return Err(refused(format!("there is no {challenge} for {name}")));
        };
        log::debug!("proving {name} by {challenge}");
        let question = Question {
            challenge,
            name: &name,
            token: &handle.token.clone(),
            key_authorization: &handle.key_authorization(),
        };
        shown.push(answers.show(&question).await?);
        let told = with_fresh_nonce!(handle.set_ready());
        told.map_err(|e| Failed::of(e, "asking the authority to look"))?;
    }
    let status = with_fresh_nonce!(order.poll_ready(&PATIENCE));
    match status.map_err(|e| Failed::of(e, "waiting for the authority to look"))? {
        OrderStatus::Ready => Ok(()),
        status => Err(refused(format!(
            "the order is {status:?}: {}",
            reasons(order).await
        ))),
    }
}

/// The authority's description of the failure.
async fn reasons(order: &mut Order) -> String {
    let mut reasons = vec![];
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let failed = state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(failed.map(ToString::to_string));
    }
    reasons.join("; ")
}

fn refused(reason: String) -> Failed {
    Error::explain(ErrorType::InternalError, reason).into()
}

/// A request for these names, and the key that it is made for.
async fn signing_request(wanted: &Wanted<'_>) -> Result<(Vec<u8>, String)> {
    let key = wanted.key.generate().await?;
    let request = sign(wanted.names, &key);
    let request = request.or_err(ErrorType::InternalError, "making a signing request")?;
    Ok((request, key.serialize_pem()))
}

fn sign(names: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}
