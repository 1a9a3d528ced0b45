//! The S3 backend: any object store that speaks its protocol.
//!
//! Owns how the store is reached, how long one request may take, and which failures are tried
//! again. Does not own what is there. Invariant: nothing here decides that bytes are right;
//! `Blobs` does, by their digest, and wrong ones are not asked for again.

use std::time::Duration;

use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{HttpTransporter, OperationContext, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;

use crate::config;

/// One part of an upload in parts, and with it the memory that an upload takes. S3 takes parts from
/// 5 MiB on, and at most 10 000 of them: these are enough for 78 GiB.
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;

/// What is asked again, and how often: a store that restarts or is overloaded is back within
/// seconds, and who waits for an answer gives up soon after.
const RETRIES_MAX: usize = 3;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// 0.1, 0.3 and 0.9 s, each with up to 0.1 s of chance so that gateways don't come in step.
const RETRY_FACTOR: f32 = 3.0;

/// `AWS_REGION` or `AWS_DEFAULT_REGION` say it where the configuration doesn't; this is what stores
/// expect that have no regions.
const REGION: &str = "us-east-1";

/// Why a bucket can't be reached at all; what is asked of it fails later, with its own errors.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration is one that the backend doesn't take.
    #[error(transparent)]
    Backend(#[from] opendal::Error),
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// A bucket, in two ways.
pub(super) struct Bucket {
    /// Tries again.
    pub(super) patient: Operator,
    /// Asks once, for who wants to know how the store is.
    pub(super) once: Operator,
}

/// The bucket that the configuration means. Asks nothing of it: a gateway starts while it is down.
pub(super) fn open(config: &config::S3) -> Result<Bucket, Error> {
    // One provider for the whole process; whoever is first sets it, and all mean the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = Duration::from_millis(config.timeout_ms);
    let limits = TimeoutLayer::new().with_timeout(request).with_io_timeout(request);
    let client = reqwest::Client::builder().connect_timeout(request).build()?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client));
    let context = OperationContext::new().with_http_transport(transport);
    let once = Operator::new(backend(config))?.with_context(context).layer(limits);
    let retries = RetryLayer::new()
        .with_max_times(RETRIES_MAX)
        .with_min_delay(RETRY_FIRST)
        .with_max_delay(RETRY_LONGEST)
        .with_factor(RETRY_FACTOR)
        .with_jitter()
        .with_notify(Log);
    // Outside of the limits, so that each attempt has its own.
    Ok(Bucket { patient: once.clone().layer(retries), once })
}

fn backend(config: &config::S3) -> services::S3 {
    let mut backend = services::S3::default().bucket(&config.bucket).root(&config.prefix);
    backend = match &config.endpoint {
        // Path-style: few such stores have a name for each bucket.
        Some(endpoint) => backend.endpoint(endpoint),
        // A bucket with a dot has no certificate as a host.
        None if config.bucket.contains('.') => backend,
        None => backend.enable_virtual_host_style(),
    };
    match &config.region {
        Some(region) => backend = backend.region(region),
        None if ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().all(|name| std::env::var_os(name).is_none()) => {
            backend = backend.region(REGION);
        }
        None => {}
    }
    let Some(credentials) = &config.credentials else { return backend };
    backend = backend.access_key_id(&credentials.access_key_id).secret_access_key(&credentials.secret_access_key);
    match &credentials.session_token {
        Some(token) => backend.session_token(token),
        None => backend,
    }
}

/// Tells of what is tried again, without the address: that is in the last error.
struct Log;

impl opendal::layers::RetryInterceptor for Log {
    fn intercept(&self, event: opendal::layers::RetryEvent<'_>) {
        let wait_ms = u64::try_from(event.retry_after.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            operation = %event.op, kind = %event.err.kind(), attempt = event.attempt, wait_ms,
            "the object store failed; trying again"
        );
    }
}
