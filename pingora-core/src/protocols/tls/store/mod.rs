//! Certificates by name, replaced as a whole while handshakes go on.

mod challenge;
mod chosen;
mod kind;
mod names;
mod provider;

pub use challenge::ACME_TLS_ALPN;
pub use chosen::ChosenCertificate;
pub(crate) use kind::ClientAbilities;
pub use provider::CertificateProvider;

use super::certificate::{CertificateId, CertificateInfo, CertificateSource, LoadedCertificate};
use super::{ClientHello, TLS_CONF_ERR};
use arc_swap::ArcSwap;
use names::NameTable;
use pingora_error::{Error, Result};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The certificates of one or more TLS listeners. Each handshake shows the one for the name that its
/// client asks for.
///
/// - An exact name wins over a wildcard, and a wildcard stands for one label.
/// - A name may have certificates with several kinds of keys: the client gets the first of
///   [`KeyKind`](super::KeyKind)'s order that it can use, so ECDSA comes before RSA. Of two for the same name and kind, the
///   one that was added later is shown.
/// - A client that asks for an unknown name, or sends none, gets the default certificate: see
///   [`CertificateSource::as_default`], [`refuse_unknown_names`](Self::refuse_unknown_names).
/// - Every change happens as a whole and at once, also while the listeners serve. Handshakes under way
///   keep what they have chosen.
///
/// Clones are the same store. When the server is told to reload, the files are read again; so they are by
/// [`reload`](Self::reload).
///
/// ```no_run
/// # fn main() -> pingora_core::Result<()> {
/// use pingora_core::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};
///
/// let store = CertificateStore::new();
/// store.add(CertificateSource::files("/etc/ssl/a.pem", "/etc/ssl/a.key"))?;
/// store.add(CertificateSource::files("/etc/ssl/b.pem", "/etc/ssl/b.key"))?;
/// let settings = TlsSettings::with_store(store.clone())?;
/// for certificate in store.certificates() {
///     println!("{:?} until {:?}", certificate.names, certificate.not_after);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CertificateStore(Arc<Shared>);

struct Shared {
    entries: Mutex<Entries>,
    /// Made of the entries, for the handshakes.
    set: ArcSwap<Set>,
}

#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    next_id: u64,
    refuse_unknown: bool,
    challenges: challenge::Challenges,
    provider: Option<Arc<dyn CertificateProvider>>,
}

#[derive(Clone)]
struct Entry {
    id: CertificateId,
    source: CertificateSource,
    names: Vec<String>,
    loaded: Arc<LoadedCertificate>,
}

/// For one name: at most one certificate of each kind, best first.
type Choices = Vec<Arc<LoadedCertificate>>;

struct Set {
    table: NameTable<Choices>,
    default: Choices,
    refuse_unknown: bool,
    /// For authorities that look for an answer.
    challenges: challenge::Challenges,
    provider: Option<Arc<dyn CertificateProvider>>,
    /// If there is just one certificate, for all clients.
    only: Option<Arc<LoadedCertificate>>,
}

/// The result of a reload that is read and not yet in force.
pub type Renewal = Box<dyn FnOnce() + Send>;

impl CertificateStore {
    /// An empty store. A listener without any certificate refuses every handshake.
    pub fn new() -> Self {
        let entries = Entries::default();
        let set = ArcSwap::from_pointee(Set::of(&entries));
        CertificateStore(Arc::new(Shared {
            entries: Mutex::new(entries),
            set,
        }))
    }

    /// Adds a certificate. Reads files: blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR), naming the file and the reason: it is missing,
    /// no PEM, the key does not belong to the certificate or is encrypted, the certificate has expired, the
    /// OCSP response is not for it. The store stays as it was.
    pub fn add(&self, source: CertificateSource) -> Result<CertificateId> {
        let (names, loaded) = load(&source)?;
        let mut entries = self.entries();
        let id = entries.take_id();
        entries.list.push(Entry {
            id,
            source,
            names,
            loaded,
        });
        self.show(&entries);
        Ok(id)
    }

    /// Puts these certificates into the place of all that there are. Reads files: blocks.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn replace_all(
        &self,
        sources: impl IntoIterator<Item = CertificateSource>,
    ) -> Result<Vec<CertificateId>> {
        let loaded = sources
            .into_iter()
            .map(|source| Ok((load(&source)?, source)));
        let loaded = loaded.collect::<Result<Vec<_>>>()?;
        let mut entries = self.entries();
        let mut list = Vec::with_capacity(loaded.len());
        for ((names, loaded), source) in loaded {
            let id = entries.take_id();
            list.push(Entry {
                id,
                source,
                names,
                loaded,
            });
        }
        let ids = list.iter().map(|entry| entry.id).collect();
        entries.list = list;
        self.show(&entries);
        Ok(ids)
    }

    /// Puts a certificate into the place of another, which is shown until then: it keeps its id, and its place in
    /// the order that decides about the default. Reads files: blocks.
    ///
    /// # Errors
    /// As [`add`](Self::add); also if there is no certificate with this id. Everything stays as it was.
    pub fn replace(&self, id: CertificateId, source: CertificateSource) -> Result<()> {
        let (names, loaded) = load(&source)?;
        let mut entries = self.entries();
        let Some(entry) = entries.list.iter_mut().find(|entry| entry.id == id) else {
            return Error::e_explain(TLS_CONF_ERR, "replacing a certificate that is not there");
        };
        *entry = Entry {
            id,
            source,
            names,
            loaded,
        };
        self.show(&entries);
        Ok(())
    }

    /// Removes a certificate; whether there was one.
    pub fn remove(&self, id: CertificateId) -> bool {
        let mut entries = self.entries();
        let before = entries.list.len();
        entries.list.retain(|entry| entry.id != id);
        self.show(&entries);
        entries.list.len() < before
    }

    /// Reads all files again; what came from memory stays. Blocks.
    ///
    /// # Errors
    /// As [`add`](Self::add); everything stays as it was. A certificate that has expired while it was in use
    /// is no error if its file has not changed: it is logged.
    pub fn reload(&self) -> Result<()> {
        self.prepare_reload().map(|renewal| renewal())
    }

    /// Whether handshakes are refused whose client asks for an unknown name. Default: it gets the
    /// default certificate. A client that asks for no name gets that in any case.
    pub fn refuse_unknown_names(&self, refuse: bool) {
        let mut entries = self.entries();
        entries.refuse_unknown = refuse;
        self.show(&entries);
    }

    /// The certificates in the store, in the order in which they were added.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let entries = self.entries();
        let default = entries.default_position();
        let info = |(index, entry): (usize, &Entry)| {
            let mut info = entry.loaded.info(entry.source.chain.to_string());
            info.id = entry.id;
            info.names.clone_from(&entry.names);
            info.is_default = entry.source.default || default == Some(index);
            info
        };
        entries.list.iter().enumerate().map(info).collect()
    }

    /// When the first of the certificates expires.
    pub fn first_expiry(&self) -> Option<SystemTime> {
        let entries = self.entries();
        entries.list.iter().map(|e| e.loaded.not_after()).min()
    }

    /// The certificate for a client that asks for `name`. The client's abilities are only determined if
    /// they make a difference.
    pub(crate) fn pick(
        &self,
        name: Option<&str>,
        client: impl FnOnce() -> ClientAbilities,
    ) -> Option<Arc<LoadedCertificate>> {
        let set = self.0.set.load();
        let (exact, wildcard) = name.map_or((None, None), |name| set.table.find(name));
        let none = Choices::new();
        let (first, second) = match (exact, wildcard) {
            (Some(exact), wildcard) => (exact, wildcard.unwrap_or(&none)),
            (None, Some(wildcard)) => (wildcard, &none),
            (None, None) if set.refuse_unknown && name.is_some() => (&none, &none),
            (None, None) => (&set.default, &none),
        };
        let candidates = first.iter().chain(second);
        let index = match first.len() + second.len() {
            0 | 1 => 0,
            _ => kind::choose(candidates.clone().map(|c| c.kind()), &client()),
        };
        candidates.into_iter().nth(index).cloned()
    }

    /// The certificate for a client that asks for `name` and has said `hello`, as far as that is known. For
    /// backends, in each handshake. `None` if the client is to be turned away.
    ///
    /// An authority that looks for the answer to a challenge gets that, or nothing: see
    /// [`set_challenge`](Self::set_challenge).
    pub fn choose(
        &self,
        name: Option<&str>,
        hello: Option<&ClientHello>,
    ) -> Option<ChosenCertificate> {
        if let Some(challenged) = hello.and_then(|hello| self.challenge(name, hello)) {
            return challenged.map(ChosenCertificate);
        }
        let client = || ClientAbilities::of(hello);
        self.pick(name, client).map(ChosenCertificate)
    }

    /// The certificate that all clients get, if there is just one.
    pub(crate) fn only(&self) -> Option<Arc<LoadedCertificate>> {
        self.0.set.load().only.clone()
    }

    /// The best certificate for clients that ask for no name.
    pub(crate) fn first_choice(&self) -> Option<Arc<LoadedCertificate>> {
        self.0.set.load().default.first().cloned()
    }

    /// Reads all files again; what is returned puts them into force. Blocks.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub(crate) fn prepare_reload(&self) -> Result<Renewal> {
        // Not under the lock: reading may take its time.
        let entries = self.entries().list.clone();
        let mut renewed = vec![];
        for entry in entries.into_iter().filter(|e| e.source.has_files()) {
            let loaded = LoadedCertificate::load(&entry.source)?;
            let names = entry.source.names_over(loaded.names())?;
            if !entry.source.allow_expired && loaded.has_expired(SystemTime::now()) {
                let reason = expired(&entry.source);
                if loaded.fingerprint() != entry.loaded.fingerprint() {
                    return Error::e_explain(TLS_CONF_ERR, reason);
                }
                log::error!("{reason}");
            }
            renewed.push((entry.id, names, Arc::new(loaded)));
        }
        let store = self.clone();
        Ok(Box::new(move || {
            let mut entries = store.entries();
            for (id, names, loaded) in renewed {
                if let Some(entry) = entries.list.iter_mut().find(|entry| entry.id == id) {
                    (entry.names, entry.loaded) = (names, loaded);
                }
            }
            store.show(&entries);
        }))
    }

    /// Allows what has expired, or refuses it from now on.
    ///
    /// # Errors
    /// If a certificate has expired and that is not allowed.
    pub(crate) fn allow_expired(&self, allow: bool) -> Result<()> {
        for entry in &mut self.entries().list {
            entry.source.allow_expired = allow;
            if !allow && entry.loaded.has_expired(SystemTime::now()) {
                return Error::e_explain(TLS_CONF_ERR, expired(&entry.source));
            }
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        let entries = self.0.entries.lock();
        entries.unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, entries: &Entries) {
        self.0.set.store(Arc::new(Set::of(entries)));
    }
}

/// Reads and checks a certificate; with the names that it is shown for.
fn load(source: &CertificateSource) -> Result<(Vec<String>, Arc<LoadedCertificate>)> {
    let loaded = LoadedCertificate::load(source)?;
    let names = source.names_over(loaded.names())?;
    if !source.allow_expired && loaded.has_expired(SystemTime::now()) {
        return Error::e_explain(TLS_CONF_ERR, expired(source));
    }
    Ok((names, Arc::new(loaded)))
}

fn expired(source: &CertificateSource) -> String {
    format!("the certificate in {} has expired", source.chain)
}

impl Entries {
    fn take_id(&mut self) -> CertificateId {
        self.next_id += 1;
        CertificateId(self.next_id)
    }

    /// Whether there is only one certificate, which goes to all clients.
    fn one_for_all(&self) -> bool {
        !self.refuse_unknown && self.challenges.is_empty() && self.provider.is_none()
    }

    /// The one that is the default because none was made it.
    fn default_position(&self) -> Option<usize> {
        let chosen = self.list.iter().any(|entry| entry.source.default);
        (!chosen && !self.list.is_empty()).then_some(0)
    }
}

impl Set {
    fn of(entries: &Entries) -> Self {
        let mut table = NameTable::<Choices>::new();
        for entry in &entries.list {
            for name in &entry.names {
                add_choice(table.entry(name), &entry.loaded);
            }
        }
        let mut default = Choices::new();
        for entry in entries.list.iter().filter(|e| e.source.default) {
            add_choice(&mut default, &entry.loaded);
        }
        if default.is_empty()
            && let Some(first) = entries.list.first()
        {
            // With its siblings: certificates for the same names with other kinds of keys.
            let siblings = entries.list.iter().filter(|e| e.names == first.names);
            siblings.for_each(|e| add_choice(&mut default, &e.loaded));
        }
        let only = match &*entries.list {
            [only] if entries.one_for_all() => Some(only.loaded.clone()),
            _ => None,
        };
        Set {
            table,
            default,
            refuse_unknown: entries.refuse_unknown,
            challenges: entries.challenges.clone(),
            provider: entries.provider.clone(),
            only,
        }
    }
}

/// A later one takes the place of an earlier one of its kind.
fn add_choice(choices: &mut Choices, loaded: &Arc<LoadedCertificate>) {
    choices.retain(|choice| choice.kind() != loaded.kind());
    choices.push(loaded.clone());
    choices.sort_by_key(|choice| choice.kind());
}

impl Default for CertificateStore {
    fn default() -> Self {
        CertificateStore::new()
    }
}

impl fmt::Debug for CertificateStore {
    /// Names and dates; never a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.certificates()).finish()
    }
}

#[cfg(test)]
#[cfg(feature = "openssl")]
mod tests;
