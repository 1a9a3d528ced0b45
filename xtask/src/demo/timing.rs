//! How long a call takes, measured simply and labelled so.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{invoke, orders, with_input};
use crate::gateway::Gateway;

const CALLS: usize = 500;
/// The first calls find cold caches, which is not what a caller sees all day.
const WARM_UP_CALLS: usize = 50;

/// Calls `order-check` again and again on one connection.
pub fn measure(gateway: &Gateway) -> Result<()> {
    let mut connection = gateway.connect()?;
    let body = with_input(orders::GOOD);
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..WARM_UP_CALLS + CALLS {
        let started = Instant::now();
        let answer = connection.post(&invoke("order-check"), &body)?;
        let took = started.elapsed();
        ensure!(answer.status == 200, "a good order was answered with {}: {}", answer.status, answer.body);
        if call >= WARM_UP_CALLS {
            times.push(took);
        }
    }
    times.sort_unstable();
    println!(
        "    {CALLS} calls one after another on one connection: median {}, p99 {}, worst {}",
        micros(quantile(&times, 50)),
        micros(quantile(&times, 99)),
        micros(quantile(&times, 100)),
    );
    println!("    Each in a fresh instance; client and server share this machine, and the client's time is in it.");
    println!("    An impression, no benchmark: that is `cargo xtask bench`.");
    Ok(())
}

/// The smallest time that `percent` of the sorted times do not exceed; zero when there are none.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn micros(duration: Duration) -> String {
    format!("{} µs", duration.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(quantile(&times, 50), Duration::from_micros(100));
        assert_eq!(quantile(&times, 99), Duration::from_micros(198));
        assert_eq!(quantile(&times, 100), Duration::from_micros(200));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
