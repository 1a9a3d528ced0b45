//! Query parameters: decoded once, with all mistakes reported together.
//!
//! Owns the rules that all lists share: unknown and repeated parameters are
//! refused, an empty one is one that isn't given, pages count from 1.

use axum::http::Uri;

use crate::error::{Code, FieldError, NAME_CHARACTERS_MAX, shortened};
use crate::http::Problem;
use crate::store::PageRequest;

/// So that a long query of nonsense doesn't make a longer answer.
const ERRORS_MAX: usize = 20;
const LIMIT_DEFAULT: u32 = 50;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Query {
    /// The parameters of `uri`, of which there may be `known` ones only.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Self {
        let decoded = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let mut query = Self { pairs: Vec::new(), errors: Vec::new() };
        let Ok(axum::extract::Query(pairs)) = decoded else {
            query.errors.push(FieldError::new("", "malformed", "the query is not `name=value&…`"));
            return query;
        };
        for (name, value) in pairs {
            if query.errors.len() == ERRORS_MAX {
                break;
            }
            if !known.contains(&name.as_str()) {
                let message = format!("there is no such parameter; there are {}", known.join(", "));
                query.errors.push(FieldError::new(
                    shortened(&name, NAME_CHARACTERS_MAX),
                    Code::UnknownField.as_str(),
                    message,
                ));
            } else if query.pairs.iter().any(|(other, _)| *other == name) {
                query.errors.push(FieldError::new(name, "duplicate", "is given more than once"));
            } else {
                query.pairs.push((name, value));
            }
        }
        query
    }

    /// One parameter; `parse` says what is wrong with it.
    pub(super) fn take<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (_, value) = self.pairs.iter().find(|(other, value)| other == name && !value.is_empty())?;
        parse(value).map_err(|message| self.errors.push(FieldError::new(name, "invalid", message))).ok()
    }

    /// `page` and `limit`.
    pub(super) fn page(&mut self) -> PageRequest {
        let page = self.take("page", |text| whole_number(text, 1, u32::MAX));
        let limit = self.take("limit", |text| whole_number(text, 1, PageRequest::LIMIT_MAX));
        PageRequest { page: page.unwrap_or(1), limit: limit.unwrap_or(LIMIT_DEFAULT) }
    }

    /// Whether all was well.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::malformed(self.errors)) }
    }
}

fn whole_number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| match max {
        u32::MAX => format!("is a whole number from {min}"),
        _ => format!("is a whole number from {min} to {max}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["page", "limit", "q", "kind"];

    fn query(text: &str) -> Query {
        Query::of(&format!("/list?{text}").parse().unwrap(), &KNOWN)
    }

    fn page(text: &str) -> Result<PageRequest, Code> {
        let mut query = query(text);
        let page = query.page();
        query.finish().map(|()| page).map_err(|problem| problem.code())
    }

    #[test]
    fn pages_count_from_1_and_have_50_items_unless_told() {
        assert_eq!(page(""), Ok(PageRequest { page: 1, limit: 50 }));
        assert_eq!(page("page=&limit="), Ok(PageRequest { page: 1, limit: 50 }));
        assert_eq!(page("page=3&limit=200"), Ok(PageRequest { page: 3, limit: 200 }));
        assert_eq!(page("page=4294967295&limit=200"), Ok(PageRequest { page: u32::MAX, limit: 200 }));
    }

    #[test]
    fn a_page_or_limit_out_of_range_is_refused() {
        for text in ["page=0", "page=-1", "page=x", "limit=0", "limit=201", "limit=1.5", "page=4294967296"] {
            assert_eq!(page(text), Err(Code::BadRequest), "{text}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        assert_eq!(page("colour=red"), Err(Code::UnknownField));
        assert_eq!(page("page=1&page=1"), Err(Code::BadRequest));
        let errors = query("colour=red&page=1&page=2").errors;
        assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["colour", "page"]);
    }

    #[test]
    fn values_are_decoded_and_all_mistakes_reported() {
        let mut query = query("q=a%20b%26c&kind=what&limit=0");
        assert_eq!(query.take("q", |text| Ok(text.to_owned())).as_deref(), Some("a b&c"));
        assert_eq!(query.take("kind", |_| Err::<(), _>("is job-step or http".to_owned())), None);
        query.page();
        assert_eq!(query.errors.len(), 2);
        query.finish().unwrap_err();
    }

    #[test]
    fn a_long_query_of_nonsense_makes_a_short_answer() {
        let text = (0..1000).map(|number| format!("a{number}=1")).collect::<Vec<_>>().join("&");
        let long = format!("{}=1", "x".repeat(1000));
        assert!(query(&long).errors[0].path.len() < 2 * NAME_CHARACTERS_MAX);
        assert_eq!(query(&text).errors.len(), ERRORS_MAX);
    }
}
