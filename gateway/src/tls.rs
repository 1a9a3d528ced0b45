//! TLS to a PostgreSQL server, as `sslmode` asks for it.
//!
//! Owns which certificates are accepted. Does not connect: `store` and `database` do. Invariant: a signature of the handshake is always checked; what `sslmode` may leave out is
//! whose certificate it is.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Proof, Tls};

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Error {
    /// In words for the operator.
    pub reason: String,
    /// What was found wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What makes TLS of a connection, where the connection is to have it.
///
/// # Errors
/// The certificates that are to be trusted can't be read.
pub fn connector(tls: &Tls) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusted = || match &tls.root {
        Some(path) => pinned(path, &provider),
        None => system(&provider),
    };
    let required = match tls.proof() {
        Proof::Name => Required::Name(trusted()?),
        Proof::Issuer => Required::Issuer(trusted()?),
        Proof::Nothing => Required::Nothing,
    };
    let verifier = Verifier { required, algorithms: provider.signature_verification_algorithms };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS to the database can't be set up".to_owned(), error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn pinned(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error {
        reason: format!("`sslrootcert` of the database's URL: {} can't be used", path.display()),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))? {
        roots.add(certificate.map_err(|error| failed(error.into()))?).map_err(|error| failed(error.into()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| failed(error.into()))?)
}

fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))
        .map_err(|error| refused("the operating system's certificates can't be read".to_owned(), error))?;
    Ok(Arc::new(verifier))
}

fn refused(reason: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error { reason, source: Box::new(source) }
}

/// What has to be true of a certificate, and who tells.
#[derive(Debug)]
enum Required {
    Nothing,
    /// Somebody who is trusted made it.
    Issuer(Arc<dyn ServerCertVerifier>),
    /// That, and it is for the host that was asked for.
    Name(Arc<dyn ServerCertVerifier>),
}

#[derive(Debug)]
struct Verifier {
    required: Required,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |trusted: &Arc<dyn ServerCertVerifier>| {
            trusted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.required {
            Required::Nothing => Ok(ServerCertVerified::assertion()),
            Required::Name(trusted) => verify(trusted),
            Required::Issuer(trusted) => match verify(trusted) {
                // The name is looked at last, when all the rest was found to be right.
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verified => verified,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
