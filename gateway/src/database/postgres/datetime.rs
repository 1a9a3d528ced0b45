//! PostgreSQL's dates, times and intervals as text.
//!
//! Owns the calendar over PostgreSQL's whole range, from 4713 BC to 294276 and beyond, which is wider than
//! that of calendars elsewhere. Invariant: what is written PostgreSQL reads as the same value.

use std::fmt::Write as _;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// From the first of January of the year 0 on, in which this calendar's eras begin in March, to 2000.
const DAYS_TO_2000: i64 = 730_425;

/// `2026-01-02`, of the days since 2000.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => calendar(days.into()).written(""),
    }
}

/// `03:04:05.123456`, of the microseconds since midnight.
pub(super) fn time(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = micros % MICROS_PER_SECOND;
    if fraction != 0 {
        let _ = write!(text, ".{fraction:06}");
    }
    text
}

/// The same with an offset, in seconds to the west.
pub(super) fn time_with_offset(micros: i64, west: i32) -> String {
    let (sign, offset) = (if west > 0 { '-' } else { '+' }, west.unsigned_abs());
    let mut text = format!("{}{sign}{:02}:{:02}", time(micros), offset / 3600, offset / 60 % 60);
    if offset % 60 != 0 {
        let _ = write!(text, ":{:02}", offset % 60);
    }
    text
}

/// `2026-01-02T03:04:05`, of the microseconds since 2000; `zone` follows it.
pub(super) fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let time = time(micros.rem_euclid(MICROS_PER_DAY));
            calendar(micros.div_euclid(MICROS_PER_DAY)).written(&format!("T{time}{zone}"))
        }
    }
}

/// ISO 8601, as PostgreSQL writes it: each part has its own sign.
pub(super) fn interval(months: i32, days: i32, micros: i64) -> String {
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => return "infinity".to_owned(),
        (i32::MIN, i32::MIN, i64::MIN) => return "-infinity".to_owned(),
        (0, 0, 0) => return "PT0S".to_owned(),
        _ => {}
    }
    let mut text = String::from("P");
    let mut part = |value: i64, unit: &str| {
        if value != 0 {
            let _ = write!(text, "{value}{unit}");
        }
    };
    part((months / 12).into(), "Y");
    part((months % 12).into(), "M");
    part(days.into(), "D");
    if micros != 0 {
        text.push('T');
        let seconds = micros / MICROS_PER_SECOND;
        let mut part = |value: i64, unit: &str| {
            if value != 0 {
                let _ = write!(text, "{value}{unit}");
            }
        };
        part(seconds / 3600, "H");
        part(seconds / 60 % 60, "M");
        let (whole, fraction) = (seconds % 60, (micros % MICROS_PER_SECOND).unsigned_abs());
        let sign = if micros < 0 && whole == 0 { "-" } else { "" };
        match (whole, fraction) {
            (0, 0) => {}
            (whole, 0) => part(whole, "S"),
            (whole, fraction) => {
                let _ = write!(text, "{sign}{whole}.{fraction:06}S");
            }
        }
    }
    text
}

struct Calendar {
    year: i64,
    month: i64,
    day: i64,
}

impl Calendar {
    /// With what follows the day; the era is last, as PostgreSQL has it.
    fn written(&self, rest: &str) -> String {
        let Self { year, month, day } = self;
        // There is no year 0: 1 BC is before 1.
        let (year, era) = if *year > 0 { (*year, "") } else { (1 - year, " BC") };
        format!("{year:04}-{month:02}-{day:02}{rest}{era}")
    }
}

/// The day that is so many after the first of 2000: Howard Hinnant's `civil_from_days`.
fn calendar(days: i64) -> Calendar {
    let days = days + DAYS_TO_2000;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Calendar {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: of_year - (153 * from_march + 2) / 5 + 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_and_moments_are_those_of_the_calendar() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(-730_119), "0001-01-01");
        assert_eq!(date(-730_120), "0001-12-31 BC");
        assert_eq!((date(i32::MAX).as_str(), date(i32::MIN).as_str()), ("infinity", "-infinity"));
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(time_with_offset(0, -19_800), "00:00:00+05:30");
        assert_eq!(interval(14, 3, 4_005_000_006), "P1Y2M3DT1H6M45.000006S");
        assert_eq!(interval(-1, 0, -500_000), "P-1MT-0.500000S");
        assert_eq!(interval(0, 0, 0), "PT0S");
    }

    proptest! {
        #[test]
        fn a_day_is_the_same_in_another_calendar(days in -730_119..2_921_939_i32) {
            let there = jiff::civil::date(2000, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            prop_assert_eq!(date(days), there.to_string());
        }
    }
}
