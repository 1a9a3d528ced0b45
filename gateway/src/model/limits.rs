//! The bounds of one execution.

use serde::{Deserialize, Serialize};

/// What the pool keeps resident of a memory between executions: reset by a memset
/// rather than by giving pages back, so a guest that fits takes no page fault on its
/// next call. The templates' initial memory is 256 KiB; the rest is their heap.
pub const RESIDENT_MEMORY_BYTES: usize = 512 * 1024;

/// Bounds that a module or a call asks for; `None` means the one above applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(description = "A version's own limits; `null` where it has none.", example = json!({"fuel": null, "memory_bytes": 67_108_864, "timeout_ms": 5000}))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Instructions, roughly: wasmtime's fuel.
    #[schema(required = true)]
    pub fuel: Option<u64>,
    /// All memories and tables of the execution together.
    #[schema(required = true)]
    pub memory_bytes: Option<u64>,
    /// Wall-clock time of the execution.
    #[schema(required = true)]
    pub timeout_ms: Option<u64>,
}

/// What applies to one execution once operator, module and call have spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectiveLimits {
    /// `None` where the operator turned metering off.
    pub fuel: Option<u64>,
    /// All memories and tables of the execution together.
    pub memory_bytes: u64,
    /// Wall-clock time of the execution.
    pub timeout_ms: u64,
}

/// A bound that is higher than the one it may only lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} may be at most {ceiling}")]
pub struct LimitAboveCeiling {
    /// The name of the member of `limits`.
    pub field: &'static str,
    /// What it may be at most; 0 where it can't be asked for at all.
    pub ceiling: u64,
}

impl EffectiveLimits {
    /// These limits with those of `asked` that are given. They may only lower.
    ///
    /// # Errors
    /// Names the first member that is higher than what applies already, or is
    /// `fuel` where metering is off.
    pub fn lowered_by(self, asked: &Limits) -> Result<Self, LimitAboveCeiling> {
        let fuel = match (self.fuel, asked.fuel) {
            (None, Some(_)) => return Err(LimitAboveCeiling { field: "fuel", ceiling: 0 }),
            (ceiling, None) => ceiling,
            (Some(ceiling), Some(fuel)) => Some(lower("fuel", ceiling, Some(fuel))?),
        };
        Ok(Self {
            fuel,
            memory_bytes: lower("memory_bytes", self.memory_bytes, asked.memory_bytes)?,
            timeout_ms: lower("timeout_ms", self.timeout_ms, asked.timeout_ms)?,
        })
    }

    /// These limits, each lowered to the one of `asked` where that is lower: for
    /// what was accepted under an operator's earlier, higher ceilings.
    #[must_use]
    pub fn clamped_by(self, asked: &Limits) -> Self {
        Self {
            fuel: self.fuel.map(|ceiling| asked.fuel.map_or(ceiling, |fuel| fuel.min(ceiling))),
            memory_bytes: asked.memory_bytes.map_or(self.memory_bytes, |bytes| bytes.min(self.memory_bytes)),
            timeout_ms: asked.timeout_ms.map_or(self.timeout_ms, |ms| ms.min(self.timeout_ms)),
        }
    }
}

fn lower(field: &'static str, ceiling: u64, asked: Option<u64>) -> Result<u64, LimitAboveCeiling> {
    match asked {
        None => Ok(ceiling),
        Some(value) if value <= ceiling => Ok(value),
        Some(_) => Err(LimitAboveCeiling { field, ceiling }),
    }
}

/// The largest whole number up to which every one is a double of its own.
const DOUBLE_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The whole number that a JSON value is; `5.0` is one too, as JSON Schema has it and some languages write it.
#[must_use]
pub fn whole_number(value: &serde_json::Value) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..=DOUBLE_WHOLE_MAX).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(whole).and_then(|number| format!("{number:.0}").parse().ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_without_a_fraction_is_whole_however_it_is_written() {
        for (value, number) in [(json!(5), 5), (json!(5.0), 5), (json!(2e3), 2000), (json!(u64::MAX), u64::MAX)] {
            assert_eq!(whole_number(&value), Some(number), "{value}");
        }
        for value in [json!(-1), json!(-1.0), json!(1.5), json!(1e17), json!("5"), json!(null), json!([5])] {
            assert_eq!(whole_number(&value), None, "{value}");
        }
    }
}
