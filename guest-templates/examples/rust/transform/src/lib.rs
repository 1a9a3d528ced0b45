//! A job step that reads the measures of a parcel, and returns what it costs to send.
//!
//! Owns the prices. Does not own the way to the gateway (`step`).
//! Invariant: total over all parcels; the bounds keep every sum far from an overflow.

mod step;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use step::{Completed, StepError};

step::functions! { run => price }

/// What the carrier takes.
const SIDE_MM: RangeInclusive<u64> = 1..=2_000;
const WEIGHT_G: RangeInclusive<u64> = 1..=31_500;
/// What is large for its weight takes the room of something heavier: 5 dm³ count as a kilogram.
const MM3_PER_G: u64 = 5_000;

const FIRST_KG_CENTS: u64 = 490;
const NEXT_KG_CENTS: u64 = 120;

/// What the step is called with. An input that serde can't read as this ends as `invalid` by itself.
#[derive(Deserialize)]
struct Parcel {
    length_mm: u64,
    width_mm: u64,
    height_mm: u64,
    weight_g: u64,
}

/// What the job's data gain.
#[derive(Debug, PartialEq, Serialize)]
struct Price {
    billable_g: u64,
    price_cents: u64,
}

fn price(parcel: Parcel) -> Result<Completed, StepError> {
    within(SIDE_MM, parcel.length_mm, "/length_mm")?;
    within(SIDE_MM, parcel.width_mm, "/width_mm")?;
    within(SIDE_MM, parcel.height_mm, "/height_mm")?;
    within(WEIGHT_G, parcel.weight_g, "/weight_g")?;
    Completed::new(&parcel.price())
}

fn within(range: RangeInclusive<u64>, value: u64, path: &str) -> Result<(), StepError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(StepError::invalid(path, "out-of-range", format!("{} to {}", range.start(), range.end())))
}

impl Parcel {
    fn price(&self) -> Price {
        let volume_mm3 = self.length_mm * self.width_mm * self.height_mm;
        let billable_g = self.weight_g.max(volume_mm3 / MM3_PER_G);
        let further_kg = billable_g.div_ceil(1_000).saturating_sub(1);
        Price { billable_g, price_cents: FIRST_KG_CENTS + further_kg * NEXT_KG_CENTS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price_of(side_mm: u64, weight_g: u64) -> Price {
        Parcel { length_mm: side_mm, width_mm: side_mm, height_mm: side_mm, weight_g }.price()
    }

    #[test]
    fn a_kilogram_that_has_begun_is_paid_for() {
        for (weight_g, price_cents) in [(1, 490), (1_000, 490), (1_001, 610), (2_000, 610), (2_001, 730)] {
            assert_eq!(price_of(10, weight_g), Price { billable_g: weight_g, price_cents });
        }
    }

    #[test]
    fn the_largest_parcel_has_a_price() {
        let (side_mm, weight_g) = (*SIDE_MM.end(), *WEIGHT_G.end());
        assert_eq!(price_of(side_mm, weight_g), Price { billable_g: 1_600_000, price_cents: 192_370 });
    }
}
