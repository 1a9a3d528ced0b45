//! The composition root.

/// Why the gateway did not start or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The parts are not put together yet.
    #[error("this build has no gateway in it")]
    Missing,
}

/// Runs the gateway until a signal stops it.
///
/// # Errors
/// What could not be started.
#[expect(clippy::unused_async, reason = "the parts that it will start are async")]
pub async fn run(_config: crate::config::Config) -> Result<(), Error> {
    Err(Error::Missing)
}
