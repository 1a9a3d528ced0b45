//! Lists on a terminal: which page is asked for, and what is said below its table.
//!
//! Owns the arguments and the words. Does not own what is listed. Invariant: where a page is not the whole list,
//! it is said how to see the rest.

use serde::Deserialize;

use super::output::{self, Out};

/// Which page of a list.
#[derive(Debug, clap::Args)]
pub(super) struct Paging {
    /// From 1.
    #[arg(long, default_value_t = 1)]
    page: u32,
    /// Items a page, 1 to 200.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    #[serde(default)]
    pub(super) total: u64,
}

/// How a list is shown.
pub(super) struct List<'a, T> {
    pub(super) header: &'a [&'a str],
    pub(super) row: fn(&T) -> Vec<String>,
    /// What is said where it has no items at all.
    pub(super) nothing: &'a str,
}

impl Paging {
    /// The parameters of a request.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        vec![("page", self.page.to_string()), ("limit", self.limit.to_string())]
    }

    /// A table of the page.
    pub(super) fn show<T>(&self, out: Out, page: &Page<T>, list: &List<'_, T>) -> Result<(), output::Error> {
        if page.items.is_empty() {
            out.note(if page.total == 0 { list.nothing } else { "nothing is on this page" });
            return Ok(());
        }
        out.table(list.header, &page.items.iter().map(list.row).collect::<Vec<_>>())?;
        if let Some(place) = self.place(page.items.len() as u64, page.total) {
            out.note(&place);
        }
        Ok(())
    }

    /// Which items of the list they are, unless they are all.
    fn place(&self, count: u64, total: u64) -> Option<String> {
        let before = u64::from(self.page.saturating_sub(1)) * u64::from(self.limit);
        let shown = before.saturating_add(count);
        let next = if shown < total { format!("; the next are on --page {}", self.page + 1) } else { String::new() };
        (shown < total || self.page > 1).then(|| format!("{} to {shown} of {total}{next}", before + 1))
    }
}

/// A time without the fraction that nobody sorts a list by; what is no time as it came.
pub(super) fn to_seconds(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| time.to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_the_whole_list_tells_where_it_is_and_where_the_next_are() {
        let place = |page, count, total| Paging { page, limit: 50 }.place(count, total);
        assert_eq!(place(1, 50, 50), None);
        assert_eq!(place(1, 50, 51).unwrap(), "1 to 50 of 51; the next are on --page 2");
        assert_eq!(place(2, 1, 51).unwrap(), "51 to 51 of 51");
    }
}
