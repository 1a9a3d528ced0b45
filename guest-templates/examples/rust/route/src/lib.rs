//! A job step that decides which steps run next: who has to approve an expense claim.
//!
//! Owns the bounds. Does not own the way to the gateway (`step`).
//! Invariant: it names only steps that the job allows in its `routes`.

mod step;

use serde::{Deserialize, Serialize};
use step::{Completed, StepError, log};

step::functions! { run => route }

/// Up to this the receipt is enough.
const SMALL_CENTS: i64 = 5_000;
/// Above this a manager alone can't approve.
const LARGE_CENTS: i64 = 100_000;

#[derive(Deserialize)]
struct Claim {
    id: String,
    amount_cents: i64,
}

/// What the job's data gain.
#[derive(Serialize)]
struct Routed {
    approvals: usize,
}

fn route(claim: Claim) -> Result<Completed, StepError> {
    if claim.amount_cents < 0 {
        return Err(StepError::invalid("/amount_cents", "out-of-range", "0 or more"));
    }
    let next = next_of(claim.amount_cents);
    let approvals = next.iter().filter(|&&step| step != "pay").count();
    log::info("claim routed", &[("id", &claim.id), ("approvals", &approvals)]);
    Ok(Completed::new(&Routed { approvals })?.then(next))
}

/// The steps of the job that run next. Several run side by side; none at all ends the job here.
fn next_of(amount_cents: i64) -> &'static [&'static str] {
    match amount_cents {
        0 => &[],
        1..=SMALL_CENTS => &["pay"],
        ..=LARGE_CENTS => &["manager"],
        _ => &["manager", "finance"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_themselves_are_on_the_cheaper_side() {
        for (cents, next) in [(5_000, "pay"), (5_001, "manager"), (100_000, "manager")] {
            assert_eq!(next_of(cents), [next], "{cents}");
        }
        assert_eq!(next_of(100_001), ["manager", "finance"]);
    }
}
