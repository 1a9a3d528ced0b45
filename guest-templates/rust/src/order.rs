//! What makes an order acceptable, and what it is worth.
//!
//! Pure rules, so that `cargo test` runs them on the author's own machine. Knows nothing of the gateway.
//! Invariant: total over all JSON. A value of the wrong type is a finding at its path, never the
//! end of the check, and sums are checked.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::field::{Field, Object};

/// Orders of this total and above are looked at by a person.
const REVIEW_CENTS: u64 = 100_000;
/// Above, it is a typing error or a reseller, who has another way to order.
const QUANTITY_MAX: i64 = 10_000;
/// The width of the id columns of the shop's database.
const ID_BYTES_MAX: usize = 64;
/// The longest address that SMTP can carry (RFC 5321, 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;
/// The longest that the printers of vouchers take.
const COUPON_BYTES_MAX: usize = 32;
/// Nobody mends more than these at a time, and a hostile order can't make the answer larger than itself.
const FINDINGS_MAX: usize = 100;

const REQUIRED: &str = "required";
const MALFORMED: &str = "malformed";
const OUT_OF_RANGE: &str = "out-of-range";

/// What the step is called with.
pub type Input = Field<Object<Call>>;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Call {
    order: Field<Object<Order>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Order {
    id: Field<String>,
    customer: Field<String>,
    country: Field<String>,
    coupon: Field<String>,
    items: Field<Vec<Field<Object<Item>>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    sku: Field<String>,
    quantity: Field<i64>,
    price_cents: Field<i64>,
}

/// One thing that is wrong about an order.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// JSON Pointer (RFC 6901) into the input.
    pub path: String,
    /// `required`, `malformed` or `out-of-range`.
    pub code: &'static str,
    pub message: &'static str,
}

/// An order that passed every rule.
#[derive(Debug, PartialEq)]
pub struct Checked {
    pub id: String,
    pub total_cents: u64,
    /// The sum of all quantities.
    pub item_count: u64,
    pub coupon: Option<String>,
}

/// How the order is handled by those who pack it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Small,
    Standard,
    Large,
}

impl Checked {
    pub fn tier(&self) -> Tier {
        match self.total_cents {
            0..10_000 => Tier::Small,
            10_000..REVIEW_CENTS => Tier::Standard,
            _ => Tier::Large,
        }
    }

    /// Takes so many percent off the total, at most all of it.
    pub fn discount(&mut self, percent: u64) {
        // In two parts, so that no total is too large to be multiplied.
        let (hundreds, rest) = (self.total_cents / 100, self.total_cents % 100);
        self.total_cents = self.total_cents.saturating_sub(hundreds * percent.min(100) + rest * percent.min(100) / 100);
    }

    pub fn needs_review(&self) -> bool {
        self.total_cents >= REVIEW_CENTS
    }
}

/// Checks every rule, and prices the order. The error has all findings, the first hundred of them.
pub fn check(input: Input) -> Result<Checked, Vec<Finding>> {
    let mut check = Check::default();
    let order = check.required(input, format_args!("")).and_then(|Object(call)| {
        let Object(order) = check.required(call.order, format_args!("/order"))?;
        Some(order)
    });
    let Some(order) = order else { return Err(check.findings) };

    let id = check.text(order.id, format_args!("/order/id"));
    check.matches(order.customer, is_email, format_args!("/order/customer"));
    check.matches(order.country, is_country, format_args!("/order/country"));
    let coupon = check.optional(order.coupon, is_coupon, format_args!("/order/coupon"));
    let sums = check.items(order.items);

    match (id, sums) {
        (Some(id), Some((total_cents, item_count))) if check.findings.is_empty() => {
            Ok(Checked { id, total_cents, item_count, coupon })
        }
        _ => Err(check.findings),
    }
}

/// The findings so far. Paths are formatted only for what is wrong.
#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
}

impl Check {
    fn add(&mut self, path: fmt::Arguments<'_>, code: &'static str, message: &'static str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { path: path.to_string(), code, message });
        }
    }

    fn required<T>(&mut self, field: Field<T>, path: fmt::Arguments<'_>) -> Option<T> {
        match field {
            Field::Given(value) => return Some(value),
            Field::Missing => self.add(path, REQUIRED, "a value is needed here"),
            Field::Malformed => self.add(path, MALFORMED, "the value has the wrong type"),
        }
        None
    }

    /// An id or a stock number.
    fn text(&mut self, field: Field<String>, path: fmt::Arguments<'_>) -> Option<String> {
        let text = self.required(field, path)?;
        match text.len() {
            0 => self.add(path, REQUIRED, "the text is empty"),
            1..=ID_BYTES_MAX => return Some(text),
            _ => self.add(path, OUT_OF_RANGE, "at most 64 bytes"),
        }
        None
    }

    fn matches(&mut self, field: Field<String>, rule: fn(&str) -> bool, path: fmt::Arguments<'_>) {
        if self.required(field, path).is_some_and(|text| !rule(&text)) {
            self.add(path, MALFORMED, "the text is not in the form that is wanted here");
        }
    }

    /// A text that may be missing.
    fn optional(&mut self, field: Field<String>, rule: fn(&str) -> bool, path: fmt::Arguments<'_>) -> Option<String> {
        if let Field::Missing = field {
            return None;
        }
        let text = self.required(field, path)?;
        if !rule(&text) {
            self.add(path, MALFORMED, "the text is not in the form that is wanted here");
        }
        Some(text)
    }

    fn number(&mut self, field: Field<i64>, range: RangeInclusive<i64>, path: fmt::Arguments<'_>) -> Option<u64> {
        let number = self.required(field, path)?;
        if !range.contains(&number) {
            self.add(path, OUT_OF_RANGE, "the number is too small or too large");
            return None;
        }
        u64::try_from(number).ok()
    }

    /// The sum of the prices in cents, and of the quantities.
    fn items(&mut self, field: Field<Vec<Field<Object<Item>>>>) -> Option<(u64, u64)> {
        let items = self.required(field, format_args!("/order/items"))?;
        if items.is_empty() {
            self.add(format_args!("/order/items"), REQUIRED, "an order has at least one item");
        }
        let mut sums = Some((0, 0));
        for (index, item) in items.into_iter().enumerate() {
            let line = self.item(index, item);
            sums = sums.zip(line).and_then(|((total, count), (cents, quantity)): ((u64, u64), (u64, u64))| {
                Some((total.checked_add(quantity.checked_mul(cents)?)?, count.checked_add(quantity)?))
            });
        }
        if sums.is_none() && self.findings.is_empty() {
            self.add(format_args!("/order/items"), OUT_OF_RANGE, "the total is too large to be counted");
        }
        sums
    }

    /// The price of one piece in cents, and the quantity.
    fn item(&mut self, index: usize, field: Field<Object<Item>>) -> Option<(u64, u64)> {
        let Object(item) = self.required(field, format_args!("/order/items/{index}"))?;
        self.text(item.sku, format_args!("/order/items/{index}/sku"));
        let quantity = self.number(item.quantity, 1..=QUANTITY_MAX, format_args!("/order/items/{index}/quantity"));
        let cents = self.number(item.price_cents, 0..=i64::MAX, format_args!("/order/items/{index}/price_cents"));
        cents.zip(quantity)
    }
}

/// Enough to catch a typing error. Whether somebody reads it, only a letter can tell.
fn is_email(text: &str) -> bool {
    let printable = |byte: u8| byte > b' ' && byte != 0x7f;
    let Some((local, domain)) = text.split_once('@') else { return false };
    let labels = domain.split('.').filter(|label| !label.is_empty() && !label.contains('@')).count();
    text.len() <= EMAIL_BYTES_MAX
        && text.bytes().all(printable)
        && !local.is_empty()
        && labels >= 2
        && labels == domain.split('.').count()
}

/// The form of ISO 3166-1 alpha-2.
fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// As it is printed on vouchers, and needs no encoding in a URL.
fn is_coupon(text: &str) -> bool {
    (1..=COUPON_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(input: &str) -> Result<Checked, Vec<Finding>> {
        check(serde_json::from_str(input).expect("the input is JSON"))
    }

    fn order(items: &str) -> String {
        format!(r#"{{"order": {{"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": {items}}}}}"#)
    }

    fn findings(input: &str) -> Vec<(String, &'static str)> {
        let findings = check_text(input).expect_err("the order is wrong");
        findings.into_iter().map(|finding| (finding.path, finding.code)).collect()
    }

    #[test]
    fn a_good_order_is_priced() {
        let input = order(
            r#"[{"sku": "pen", "quantity": 2, "price_cents": 1250}, {"sku": "ink", "quantity": 1, "price_cents": 0}]"#,
        );
        let checked = check_text(&input).expect("the order is good");
        assert_eq!(checked, Checked { id: "A-17".to_owned(), total_cents: 2500, item_count: 3, coupon: None });
        assert_eq!((checked.tier(), checked.needs_review()), (Tier::Small, false));
    }

    #[test]
    fn a_coupon_is_checked_where_there_is_one_and_takes_its_part() {
        let with = |coupon: &str| {
            let order = order(r#"[{"sku": "pen", "quantity": 1, "price_cents": 999}]"#);
            order.replace(r#""items""#, &format!(r#""coupon": {coupon}, "items""#))
        };
        let mut checked = check_text(&with(r#""SPRING-26""#)).expect("the order is good");
        assert_eq!(checked.coupon.as_deref(), Some("SPRING-26"));
        checked.discount(10);
        assert_eq!(checked.total_cents, 900, "999 less 99");
        checked.discount(100);
        assert_eq!(checked.total_cents, 0);
        checked.total_cents = u64::MAX;
        checked.discount(100);
        assert_eq!(checked.total_cents, 0);
        assert_eq!(check_text(&with("null")).expect("the order is good").coupon, None);
        for bad in [r#""""#, r#""spring""#, r#""A/B""#, "7", &format!("\"{}\"", "A".repeat(33))] {
            assert_eq!(findings(&with(bad)), [("/order/coupon".to_owned(), MALFORMED)], "{bad}");
        }
    }

    #[test]
    fn the_threshold_itself_is_reviewed_and_one_cent_less_is_not() {
        for (cents, tier, review) in [(99_999, Tier::Standard, false), (100_000, Tier::Large, true)] {
            let input = order(&format!(r#"[{{"sku": "pen", "quantity": 1, "price_cents": {cents}}}]"#));
            let checked = check_text(&input).expect("the order is good");
            assert_eq!((checked.tier(), checked.needs_review()), (tier, review), "{cents}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let input = r#"{"order": {"id": "", "customer": "ada@", "country": "Germany", "items": [
            {"sku": "pen", "quantity": 0, "price_cents": -1}, {"quantity": "2", "price_cents": 1.5}, 5]}}"#;
        assert_eq!(
            findings(input),
            [
                ("/order/id", REQUIRED),
                ("/order/customer", MALFORMED),
                ("/order/country", MALFORMED),
                ("/order/items/0/quantity", OUT_OF_RANGE),
                ("/order/items/0/price_cents", OUT_OF_RANGE),
                ("/order/items/1/sku", REQUIRED),
                ("/order/items/1/quantity", MALFORMED),
                ("/order/items/1/price_cents", MALFORMED),
                ("/order/items/2", MALFORMED),
            ]
            .map(|(path, code)| (path.to_owned(), code))
        );
    }

    #[test]
    fn what_is_missing_is_required_whether_absent_or_null() {
        assert_eq!(findings("{}"), [("/order".to_owned(), REQUIRED)]);
        assert_eq!(findings(r#"{"order": null}"#), [("/order".to_owned(), REQUIRED)]);
        let paths: Vec<String> = findings(r#"{"order": {"id": null}}"#).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/order/id", "/order/customer", "/order/country", "/order/items"]);
        assert_eq!(findings(&order("[]")), [("/order/items".to_owned(), REQUIRED)]);
    }

    #[test]
    fn a_total_past_64_bits_is_a_finding() {
        let line = format!(r#"{{"sku": "pen", "quantity": 10000, "price_cents": {}}}"#, i64::MAX);
        assert_eq!(findings(&order(&format!("[{line}]"))), [("/order/items".to_owned(), OUT_OF_RANGE)]);
    }

    #[test]
    fn a_list_is_not_taken_for_an_object() {
        assert_eq!(findings("[{}]"), [(String::new(), MALFORMED)]);
        assert_eq!(findings(r#"{"order": ["A-17", "a@b.c", "DE", []]}"#), [("/order".to_owned(), MALFORMED)]);
    }

    #[test]
    fn a_hostile_order_gets_a_bounded_answer() {
        let items = vec!["5"; 100_000].join(",");
        assert_eq!(findings(&order(&format!("[{items}]"))).len(), FINDINGS_MAX);
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(findings(&order(&deep)), [("/order/items/0".to_owned(), MALFORMED)]);
    }

    #[test]
    fn addresses_are_told_from_what_only_looks_like_one() {
        for good in ["a@b.c", "ada+shop@mail.example.com", "ü@exämple.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "ada", "@b.c", "a@b", "a@.c", "a@b.", "a@b..c", "a@b@c.d", "a b@c.d", "a@b.c\n"] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }
}
