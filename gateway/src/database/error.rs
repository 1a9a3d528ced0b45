//! Why a statement has no answer, in words that a step may read.
//!
//! Invariant: the words never hold SQL, parameters, addresses or paths of the host; what a database says of
//! the step's own statement (a column that is not there) they do.

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no database of this name.
    #[error("there is no such database")]
    Unknown,
    /// The operator opened it for reading only.
    #[error("the database is read only")]
    ReadOnly,
    /// The statement or its parameters are not what they should be; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// More than an answer, or a statement with its parameters, may have; nothing was done.
    #[error("{0}")]
    TooLarge(String),
    /// The time is over.
    #[error("the statement did not end in time")]
    TimedOut,
    /// The database, or the way to it.
    #[error("{what}")]
    Failed {
        /// In words for the step.
        what: String,
        /// Whether it may go well at the next try: a lock, a serialization, a connection.
        is_transient: bool,
        /// For the operator: of the way to the database only, since what a database says has values in it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// Whether the database, or the way to it, is not there: what was asked is not the reason.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Failed { source: Some(_), .. })
    }

    /// More rows than `rows_max`.
    pub(super) fn too_many_rows(rows_max: u64) -> Self {
        Self::TooLarge(format!("the answer has more than {rows_max} rows"))
    }

    /// A statement of `needed` parameters that is `given` another number of them.
    pub(super) fn wrong_count(needed: usize, given: usize) -> Self {
        Self::Invalid(format!("the statement has {needed} parameters, and {given} are given"))
    }

    /// More bytes than `bytes_max`.
    pub(super) fn too_many_bytes(bytes_max: u64) -> Self {
        Self::TooLarge(format!("the answer has more than {bytes_max} bytes"))
    }
}
