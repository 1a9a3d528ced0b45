//! One page of a list, and how long the list is.
//!
//! Owns the order of the two questions. Does not own what is asked (the aggregates). Invariant: a page past the
//! end costs no walk over the rows before it.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use super::column::{count, count_of};
use super::connect::Failure;
use crate::store::{Page, PageRequest};

/// The statements of a list, for its condition.
pub(super) struct Statements {
    pub(super) count: String,
    /// With two more parameters: the limit and the offset.
    pub(super) list: String,
}

/// Asks for a page.
pub(super) async fn page<T>(
    tx: &Transaction<'_>,
    statements: &Statements,
    values: &[Box<dyn ToSql + Sync + Send>],
    page: PageRequest,
    read: impl FnMut(&Row) -> Result<T, Failure>,
) -> Result<Page<T>, Failure> {
    let mut values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
    let total = count(&tx.query_one(&statements.count, &values).await?, 0)?;
    if page.offset() >= total {
        // The database would walk over all rows to find that out.
        return Ok(Page { items: Vec::new(), total });
    }
    let (limit, offset) = (i64::from(page.limit), count_of(page.offset()));
    values.extend([&limit as &(dyn ToSql + Sync), &offset]);
    let items = tx.query(&statements.list, &values).await?.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}
