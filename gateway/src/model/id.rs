//! Identifiers: UUIDv7, so that they sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = "uuid", example = "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d")]
        pub struct $name(Uuid);

        impl $name {
            /// An identifier that was stored before.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

id! {
    /// One version of a module.
    ModuleId
}

id! {
    /// One execution of one function. It begins with the time of the start, so that a
    /// list by id is a list by start.
    ExecutionId
}

id! {
    /// One API key.
    KeyId
}

id! {
    /// One row of the audit.
    AuditId
}

id! {
    /// One run of a job. It begins with the time it was made.
    RunId
}

id! {
    /// One notification, through all its attempts.
    DeliveryId
}

macro_rules! generated {
    ($($name:ident)*) => {
        $(impl $name {
            /// A new identifier, later than all before it in this process.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        })*
    };
}

generated!(ModuleId KeyId AuditId RunId DeliveryId);

impl ExecutionId {
    /// A new identifier for an execution that starts at `at`, to the microsecond: later
    /// than those of all that started before. Times before 1970 count as 1970.
    #[must_use]
    pub fn starting(at: Timestamp) -> Self {
        let mut bytes = Uuid::new_v4().into_bytes();
        put_time(&mut bytes, at);
        Self(Uuid::from_bytes(bytes))
    }

    /// What no identifier of an execution that started before `at` reaches, and those of
    /// later ones do: bytes to compare with, and no identifier.
    #[must_use]
    pub fn first_bytes_from(at: Timestamp) -> [u8; 16] {
        let mut bytes = [0; 16];
        put_time(&mut bytes, at);
        bytes
    }
}

/// RFC 9562, 5.7 and 6.2 (method 3): 48 bits of milliseconds, the version, and in the 12
/// bits behind it how much of the millisecond is over, in 4096ths.
fn put_time(bytes: &mut [u8; 16], at: Timestamp) {
    const MILLIS_MAX: u64 = (1 << 48) - 1;
    // Bounds of a filter may be finer than what is stored: the next microsecond then.
    let micros = u64::try_from(at.as_nanosecond().max(0).cast_unsigned().div_ceil(1_000)).unwrap_or(u64::MAX);
    let millis = (micros / 1_000).min(MILLIS_MAX);
    let fraction = (micros % 1_000) * 4096 / 1_000;
    let time = (millis << 16) | 0x7000 | fraction;
    if let Some(first) = bytes.first_chunk_mut() {
        *first = time.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    proptest! {
        #[test]
        fn executions_are_in_the_order_of_their_starts(a in 0..253_402_207_200_000_000_i64, later in 0..2_000_i64) {
            let (first, second) = (ExecutionId::starting(time(a)), ExecutionId::starting(time(a + later)));
            prop_assert!(later == 0 || first < second);
            prop_assert_eq!(first.as_uuid().get_version_num(), 7);
            prop_assert_eq!(first.as_uuid().get_variant(), uuid::Variant::RFC4122);
            let bound = ExecutionId::first_bytes_from(time(a + later));
            prop_assert!(*second.as_uuid().as_bytes() >= bound);
            prop_assert_eq!(*first.as_uuid().as_bytes() >= bound, later == 0);
        }
    }
}
