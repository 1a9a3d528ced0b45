//! The orders that the demo sends to `order-check`.

/// One that passes every rule.
pub const GOOD: &str = r#"{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}, {"sku": "ink", "quantity": 1, "price_cents": 890}]}}"#;

/// One with a mistake in nearly every field.
pub const BAD: &str = r#"{"order": {"id": "", "customer": "ada@", "country": "Germany", "items": [{"sku": "pen", "quantity": 0, "price_cents": -1}]}}"#;

/// An order that is meant to do harm.
pub struct Hostile {
    pub what: &'static str,
    /// The text of the input, which need not be JSON.
    pub input: String,
    /// How it has to be answered.
    pub status: u16,
}

/// One for each thing that a reader may get wrong.
pub fn hostile() -> [Hostile; 4] {
    let line = format!(r#"{{"sku": "pen", "quantity": 10000, "price_cents": {}}}"#, i64::MAX);
    let overflow = GOOD.replace(r#"{"sku": "pen", "quantity": 2, "price_cents": 1250}"#, &line);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!(r#"{{"order": {{"items": [{}]}}}}"#, vec!["5"; 200_000].join(","));
    [
        Hostile { what: "a total past 64 bits", input: overflow, status: 422 },
        Hostile { what: "200 000 items that are none", input: many, status: 422 },
        Hostile { what: "JSON that nests 100 000 deep", input: deep, status: 400 },
        Hostile { what: "a number that no machine holds", input: GOOD.replace("1250", "1e400"), status: 400 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hostile_order_is_another_one_than_the_good() {
        for order in hostile() {
            assert_ne!(order.input, GOOD, "{}", order.what);
        }
    }
}
