//! TLS of the listeners: which certificate a client is shown, who it must be itself, and all of that anew when files change.
//!
//! What a handshake needs is one value that is swapped whole. Connections that are open keep the one that they began with;
//! sessions of another are not resumed, so that no client goes on by an authority that is no longer trusted.
mod material;
mod watch;

use std::{any::Any, fmt, sync::Arc};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::{
    Result,
    listeners::{
        TlsAccept,
        tls::{Acceptor, TlsSettings},
    },
    protocols::{
        l4::stream::Stream as Socket,
        tls::{TlsRef, TlsStream},
    },
    tls::TlsAcceptor,
};
use pingora_proxy::Session;
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

pub use crate::edge::tls::material::MaterialError;
use crate::{
    config::{
        certificate,
        settings::listener::{Listener, ListenerTls},
    },
    edge::tls::material::Material,
    gate::certificates::{ListenerCertificates, Presented},
};

pub use crate::edge::tls::watch::CertificateWatch;

/// From now on every TLS connection of the process, to upstreams and issuers too, uses the library that checks the
/// signatures of tokens. What is already chosen stays.
pub fn choose_library() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// TLS of one listener.
pub struct Terminator {
    listener: Box<str>,
    settings: ListenerTls,
    http2: bool,
    acceptor: ArcSwap<Acceptor>,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Terminator({:?}, {:?})", self.listener, self.settings)
    }
}

impl Terminator {
    /// Reads the files of a listener; nothing for one without TLS.
    ///
    /// # Errors
    /// A [`MaterialError`] that names the file.
    fn new(listener: &Listener) -> Result<Option<(Self, Material)>, MaterialError> {
        let Some(settings) = &listener.tls else { return Ok(None) };
        let material = Material::read(settings)?;
        let acceptor = acceptor(&material, settings, listener.http2)?;
        let terminator = Self {
            listener: listener.name.clone(),
            settings: settings.clone(),
            http2: listener.http2,
            acceptor: ArcSwap::from_pointee(acceptor),
        };
        Ok(Some((terminator, material)))
    }

    /// Makes the connection one of TLS; how long that may take is for the caller to say.
    ///
    /// # Errors
    /// Why the client did not come to terms.
    pub async fn accept(&self, socket: Socket) -> Result<TlsStream<Socket>> {
        let acceptor = self.acceptor.load_full();
        acceptor.tls_handshake(socket).await
    }

    /// For connections that begin from now on.
    fn replace(&self, material: &Material) -> Result<(), MaterialError> {
        self.acceptor.store(Arc::new(acceptor(material, &self.settings, self.http2)?));
        Ok(())
    }
}

/// The name that the client of a request asked for, beside the listener's certificates; nothing without TLS.
pub fn presented(session: &Session) -> Option<Presented<'_>> {
    let shown: &Shown = session.digest()?.ssl_digest.as_ref()?.extension.get()?;
    Some(Presented { certificates: &shown.certificates, server_name: shown.server_name.as_deref() })
}

/// The version of TLS that a request came by.
pub fn version(session: &Session) -> Option<&'static str> {
    match session.digest()?.ssl_digest.as_ref()?.version.as_ref() {
        "TLSv1_2" => Some("TLSv1.2"),
        "TLSv1_3" => Some("TLSv1.3"),
        _ => None,
    }
}

/// What a connection keeps of its handshake.
#[derive(Debug)]
struct Shown {
    certificates: Arc<ListenerCertificates>,
    server_name: Option<Box<str>>,
}

/// Which certificate each client is shown.
#[derive(Debug)]
struct Choice {
    names: Arc<ListenerCertificates>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.names.choose(hello.server_name());
        let fitting = || chosen.iter().filter_map(|position| self.keys.get(*position));
        // A name may have a certificate for each kind of key.
        let usable = fitting().find(|certified| certified.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or_else(|| fitting().next()).cloned()
    }
}

struct Keep(Arc<ListenerCertificates>);

#[async_trait]
impl TlsAccept for Keep {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let server_name = tls.server_name().map(Box::from);
        Some(Arc::new(Shown { certificates: Arc::clone(&self.0), server_name }))
    }
}

fn acceptor(material: &Material, settings: &ListenerTls, http2: bool) -> Result<Acceptor, MaterialError> {
    let names = ListenerCertificates::new(material.pairs.iter().map(|pair| pair.names.clone()));
    let keys = material.pairs.iter().map(|pair| Arc::clone(&pair.certified)).collect();
    let choice = Arc::new(Choice { names: Arc::new(names), keys });
    let mut callbacks = TlsSettings::with_callbacks(Box::new(Keep(Arc::clone(&choice.names))))
        .map_err(|error| MaterialError::Library(error.to_string()))?;
    callbacks.set_cert_resolver(Arc::<Choice>::clone(&choice));
    // Pingora makes a configuration of its own, whose versions, library and tickets cannot be chosen.
    let mut acceptor = callbacks.build();
    let config =
        server_config(material, settings, choice, http2).map_err(|error| MaterialError::Library(error.to_string()))?;
    acceptor.acceptor = TlsAcceptor::from(Arc::new(config));
    Ok(acceptor)
}

fn server_config(
    material: &Material,
    settings: &ListenerTls,
    choice: Arc<Choice>,
    http2: bool,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = certificate::provider();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13, &TLS12])?;
    let clients = settings.clients.as_ref().zip(material.authorities.clone());
    let mut config = match clients {
        Some((clients, authorities)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
            let verifier = if clients.are_required { verifier } else { verifier.allow_unauthenticated() };
            let mut config = builder.with_client_cert_verifier(verifier.build()?).with_cert_resolver(choice);
            // A session that is resumed would not show the client's certificate again, whatever became of it.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
        None => {
            let mut config = builder.with_no_client_auth().with_cert_resolver(choice);
            config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
            config
        }
    };
    // All suites are good; of two the server's choice is the better one.
    config.ignore_client_order = true;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}
