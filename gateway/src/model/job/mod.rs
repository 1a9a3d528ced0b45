//! Jobs as they are defined, and what a run of one is: plain data.
//!
//! Owns the shapes that can't be wrong once they exist. Does not own how a definition is read
//! and checked (`jobs::definition`), what templates mean (`jobs::template`), nor how a run goes on (`jobs::plan`).

mod definition;
mod name;
mod payload;
mod run;

pub use definition::{
    DatabaseMode, DatabaseStep, Definition, Hook, HttpStep, Job, Notify, RetryPolicy, StepDefinition, StepKind,
    WaitStep, WasmStep,
};
pub use name::{JobName, ParseJobNameError, ParseStepIdError, StepId};
pub use payload::Payload;
pub use run::{
    Attempt, AttemptStatus, Delivery, DeliveryAttempt, DeliveryStatus, Run, RunEvent, RunStatus, RunStep, StepError,
    StepStatus,
};
