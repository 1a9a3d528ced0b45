//! A number of a JSON document, with the digits that it is written with.
//!
//! Owns when two are the same number. Invariant: no digit is lost or passed over: two are equal where their exact
//! decimal values are, and a number is shown as it is written.

use std::fmt;

/// A number as it is written; equal to another one by its value, so that 1, 1.0 and 1e0 are one.
#[derive(Debug, Clone)]
pub struct Number(Box<str>);

impl Number {
    /// The token of a number in a document that was parsed.
    pub(super) fn new(token: &str) -> Self {
        Self(Box::from(token))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || Decimal::of(&self.0) == Decimal::of(&other.0)
    }
}

impl Eq for Number {}

/// `digits * 10 ^ exponent`. Each value has one: no zero stands at either end of the digits, and zero has none.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    is_negative: bool,
    digits: String,
    exponent: Exponent<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Exponent<'a> {
    Known(i128),
    /// More than an `i128` holds, which every parser takes for zero or refuses: as it is written, and what to add.
    Written(&'a str, i128),
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Self {
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let significant = digits.trim_matches('0');
        if significant.is_empty() {
            // There is one zero, without a sign.
            return Self { is_negative: false, digits: String::new(), exponent: Exponent::Known(0) };
        }
        let trailing = digits.len() - digits.trim_end_matches('0').len();
        let shift = digits_of(trailing) - digits_of(fraction.len());
        let known = exponent.parse::<i128>().ok().and_then(|exponent| exponent.checked_add(shift));
        Self {
            is_negative: unsigned.len() < text.len(),
            digits: significant.to_owned(),
            exponent: known.map_or(Exponent::Written(exponent, shift), Exponent::Known),
        }
    }
}

/// Texts are shorter than any integer's range.
fn digits_of(count: usize) -> i128 {
    i128::try_from(count).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(one: &str, other: &str) -> bool {
        Number::new(one) == Number::new(other)
    }

    #[test]
    fn one_value_is_one_number_however_it_is_written() {
        for spellings in [
            ["1", "1.0", "1e0"],
            ["2500", "2.5e3", "25000E-1"],
            ["-0.5", "-5e-1", "-0.50"],
            ["0", "-0.0", "0e400"],
            ["100000000000000000000", "1e20", "1E+020"],
            ["1e-400", "0.1e-399", "10e-401"],
        ] {
            for other in spellings {
                assert!(same(spellings[0], other), "{spellings:?} {other}");
            }
        }
    }

    #[test]
    fn no_digit_is_passed_over() {
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("18446744073709551617", "18446744073709551616"),
            ("0.1", "0.10000000000000000001"),
            ("9007199254740993", "9007199254740992.0"),
            ("1", "-1"),
            ("1e-400", "0"),
            ("1e-400", "1e-401"),
            ("1e23", "9.999999999999999e22"),
            ("10", "1"),
            ("1e-99999999999999999999999999999999999999999", "1e-99999999999999999999999999999999999999998"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    /// The digits that aren't zero, each with its place: what a number is worth, found without arithmetic on its value.
    fn places(text: &str) -> (bool, Vec<(i64, char)>) {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let exponent: i64 = exponent.parse().unwrap();
        let point = mantissa.find('.').unwrap_or(mantissa.len());
        let digits = mantissa.chars().filter(|character| *character != '.').enumerate();
        let worth = |index: usize| i64::try_from(point).unwrap() - i64::try_from(index).unwrap() - 1 + exponent;
        let places: Vec<_> =
            digits.filter(|(_, digit)| *digit != '0').map(|(index, digit)| (worth(index), digit)).collect();
        (text.starts_with('-') && !places.is_empty(), places)
    }

    /// Few digits and small exponents, so that many of them are the same number.
    const ALIKE: &str = "-?(0|1[01]{0,2})(\\.[01]{1,3})?([eE][+-]?0?[0-3])?";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn two_are_equal_where_the_same_digits_stand_at_the_same_places(one in ALIKE, other in ALIKE) {
            prop_assert_eq!(same(&one, &other), places(&one) == places(&other), "{} {}", one, other);
        }

        #[test]
        fn a_long_one_stays_the_same_when_its_point_is_moved_and_not_when_a_digit_changes(
            digits in "[1-9][0-9]{1,40}",
            point in 1_usize..41,
            exponent in -400_i64..400,
            zeros in 0_usize..4,
            changed in 0_usize..41,
        ) {
            let point = point.min(digits.len());
            let whole = format!("{digits}e{exponent}");
            let moved = exponent + i64::try_from(digits.len() - point).unwrap();
            let (before, after) = digits.split_at(point);
            let spelled = format!("{before}.{after}0{}e{moved}", "0".repeat(zeros));
            prop_assert!(same(&whole, &spelled), "{} {}", whole, spelled);

            let changed = changed.min(digits.len() - 1);
            let digit = if digits.as_bytes()[changed] == b'7' { "3" } else { "7" };
            let mut other = digits.clone();
            other.replace_range(changed..=changed, digit);
            let other = format!("{other}e{exponent}");
            prop_assert!(!same(&other, &spelled), "{} {}", other, spelled);
        }
    }
}
