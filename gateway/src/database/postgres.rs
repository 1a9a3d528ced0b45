//! postgres, begun.

use super::{Bounds, Error, Statement};
use crate::config;

#[derive(Debug)]
pub(super) struct Pool;

impl Pool {
    pub(super) fn open(
        _: &config::Postgres,
        _: &config::Database,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    pub(super) async fn query(&self, _: Statement<'_>, _: Bounds) -> Result<String, Error> {
        Err(Error::Unknown)
    }

    pub(super) async fn execute(&self, _: Statement<'_>) -> Result<u64, Error> {
        Err(Error::Unknown)
    }
}
