//! The examples of `sluice init`, each as what differs from its language's template.
//!
//! Owns which example a language has, and what of the template it does without. Does not own how they are put together
//! (`template`). Invariant: an example that a language doesn't have is no list of files, rather than a wrong one.

use super::Files;
use crate::author::Language;

/// What a new folder shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Example {
    /// A step that uses all there is: it checks, prices and routes an order, and asks a server and a database.
    Order,
    /// A step that reads a value, computes, and returns another.
    Transform,
    /// A step that tells all that is wrong with its input at once.
    Validate,
    /// A step that says which steps run next.
    Route,
    /// A function that answers HTTP requests, in Rust and `TinyGo`.
    HttpFunction,
}

impl Example {
    /// An input that the step accepts, to try it with. `None` where it is no step.
    pub(in crate::cli) const fn input(self) -> Option<&'static str> {
        Some(match self {
            Self::Order => {
                r#"{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}]}}"#
            }
            Self::Transform => r#"{"length_mm": 600, "width_mm": 400, "height_mm": 400, "weight_g": 800}"#,
            Self::Validate => r#"{"name": "Ada", "email": "ada@example.com", "age": 36, "languages": ["en"]}"#,
            Self::Route => r#"{"id": "E-7", "amount_cents": 250000}"#,
            Self::HttpFunction => return None,
        })
    }
}

/// What an example has in the place of the order step's files.
pub(super) struct Overlay {
    /// The template's files, and folders with a slash at their end, that it does without.
    pub(super) without: &'static [&'static str],
    /// Its own. A README goes on with the common part of the language's, unless it does without that.
    pub(super) files: Files,
}

impl Overlay {
    /// Whether a file of the template's stays out.
    pub(super) fn does_without(&self, path: &str) -> bool {
        self.without.iter().any(|left_out| path == *left_out || left_out.ends_with('/') && path.starts_with(left_out))
    }
}

/// `None` where the language has no such example.
pub(super) const fn overlay(language: Language, example: Example) -> Option<&'static Overlay> {
    Some(match (example, language) {
        // The order step is the template itself; AssemblyScript has no bindings of `wasi:http`, which would be larger than
        // all of its glue.
        (Example::Order, _) | (Example::HttpFunction, Language::AssemblyScript) => return None,
        (Example::Transform, Language::Rust) => &RUST_TRANSFORM,
        (Example::Transform, Language::TinyGo) => &TINYGO_TRANSFORM,
        (Example::Transform, Language::AssemblyScript) => &ASSEMBLYSCRIPT_TRANSFORM,
        (Example::Validate, Language::Rust) => &RUST_VALIDATE,
        (Example::Validate, Language::TinyGo) => &TINYGO_VALIDATE,
        (Example::Validate, Language::AssemblyScript) => &ASSEMBLYSCRIPT_VALIDATE,
        (Example::Route, Language::Rust) => &RUST_ROUTE,
        (Example::Route, Language::TinyGo) => &TINYGO_ROUTE,
        (Example::Route, Language::AssemblyScript) => &ASSEMBLYSCRIPT_ROUTE,
        (Example::HttpFunction, Language::Rust) => &RUST_HTTP_FUNCTION,
        (Example::HttpFunction, Language::TinyGo) => &TINYGO_HTTP_FUNCTION,
    })
}

const RUST_TRANSFORM: Overlay = Overlay {
    without: &["src/coupons.rs", "src/field.rs", "src/order.rs", "tests/"],
    files: files!("examples/rust/transform":
        "README.md",
        "sluice.step.toml",
        "src/lib.rs",
        "tests/a-large-parcel-is-priced-by-its-volume.json",
        "tests/a-parcel-is-priced-by-its-weight.json",
        "tests/a-parcel-of-one-kilogram-costs-the-least.json",
        "tests/a-parcel-that-is-too-heavy-is-refused.json",
        "tests/a-parcel-without-a-weight-is-refused.json",
    ),
};

const RUST_VALIDATE: Overlay = Overlay {
    without: &["src/coupons.rs", "src/order.rs", "tests/"],
    files: files!("examples/rust/validate":
        "README.md",
        "sluice.step.toml",
        "src/lib.rs",
        "tests/a-good-registration-is-taken.json",
        "tests/a-list-is-no-registration.json",
        "tests/a-value-of-the-wrong-type-hides-no-other.json",
        "tests/all-that-is-wrong-is-told-at-once.json",
        "tests/too-many-languages-are-one-mistake.json",
        "tests/what-is-missing-is-required.json",
    ),
};

const RUST_ROUTE: Overlay = Overlay {
    without: &["src/coupons.rs", "src/field.rs", "src/order.rs", "tests/"],
    files: files!("examples/rust/route":
        "README.md",
        "sluice.step.toml",
        "src/lib.rs",
        "tests/a-claim-below-zero-is-refused.json",
        "tests/a-claim-of-nothing-ends-the-job.json",
        "tests/a-large-claim-goes-to-two-people-at-once.json",
        "tests/a-larger-claim-goes-to-the-manager.json",
        "tests/a-small-claim-is-paid.json",
    ),
};

const TINYGO_TRANSFORM: Overlay = Overlay {
    without: &["coupons.go", "order.go", "order_test.go", "tests/"],
    files: files!("examples/tinygo/transform":
        "README.md",
        "main.go",
        "main_test.go",
        "sluice.step.toml",
        "tests/a-large-parcel-is-priced-by-its-volume.json",
        "tests/a-parcel-is-priced-by-its-weight.json",
        "tests/a-parcel-of-one-kilogram-costs-the-least.json",
        "tests/a-parcel-that-is-too-heavy-is-refused.json",
        "tests/a-parcel-without-a-weight-is-refused.json",
    ),
};

const TINYGO_VALIDATE: Overlay = Overlay {
    without: &["coupons.go", "order.go", "order_test.go", "tests/"],
    files: files!("examples/tinygo/validate":
        "README.md",
        "main.go",
        "main_test.go",
        "sluice.step.toml",
        "tests/a-good-registration-is-taken.json",
        "tests/a-list-is-no-registration.json",
        "tests/a-value-of-the-wrong-type-hides-no-other.json",
        "tests/all-that-is-wrong-is-told-at-once.json",
        "tests/too-many-languages-are-one-mistake.json",
        "tests/what-is-missing-is-required.json",
    ),
};

const TINYGO_ROUTE: Overlay = Overlay {
    without: &["coupons.go", "order.go", "order_test.go", "tests/"],
    files: files!("examples/tinygo/route":
        "README.md",
        "main.go",
        "main_test.go",
        "sluice.step.toml",
        "tests/a-claim-below-zero-is-refused.json",
        "tests/a-claim-of-nothing-ends-the-job.json",
        "tests/a-large-claim-goes-to-two-people-at-once.json",
        "tests/a-larger-claim-goes-to-the-manager.json",
        "tests/a-small-claim-is-paid.json",
    ),
};

const ASSEMBLYSCRIPT_TRANSFORM: Overlay = Overlay {
    without: &["assembly/coupons.ts", "assembly/order.ts", "test/order.test.mjs", "tests/"],
    files: files!("examples/assemblyscript/transform":
        "README.md",
        "assembly/index.ts",
        "sluice.step.toml",
        "tests/a-large-parcel-is-priced-by-its-volume.json",
        "tests/a-parcel-is-priced-by-its-weight.json",
        "tests/a-parcel-of-one-kilogram-costs-the-least.json",
        "tests/a-parcel-that-is-too-heavy-is-refused.json",
        "tests/a-parcel-without-a-weight-is-refused.json",
    ),
};

const ASSEMBLYSCRIPT_VALIDATE: Overlay = Overlay {
    without: &["assembly/coupons.ts", "assembly/order.ts", "test/order.test.mjs", "tests/"],
    files: files!("examples/assemblyscript/validate":
        "README.md",
        "assembly/index.ts",
        "sluice.step.toml",
        "tests/a-good-registration-is-taken.json",
        "tests/a-list-is-no-registration.json",
        "tests/a-value-of-the-wrong-type-hides-no-other.json",
        "tests/all-that-is-wrong-is-told-at-once.json",
        "tests/too-many-languages-are-one-mistake.json",
        "tests/what-is-missing-is-required.json",
    ),
};

const ASSEMBLYSCRIPT_ROUTE: Overlay = Overlay {
    without: &["assembly/coupons.ts", "assembly/order.ts", "test/order.test.mjs", "tests/"],
    files: files!("examples/assemblyscript/route":
        "README.md",
        "assembly/index.ts",
        "sluice.step.toml",
        "tests/a-claim-below-zero-is-refused.json",
        "tests/a-claim-of-nothing-ends-the-job.json",
        "tests/a-large-claim-goes-to-two-people-at-once.json",
        "tests/a-larger-claim-goes-to-the-manager.json",
        "tests/a-small-claim-is-paid.json",
    ),
};

const RUST_HTTP_FUNCTION: Overlay = Overlay {
    without: &[
        "README.md",
        "src/coupons.rs",
        "src/field.rs",
        "src/order.rs",
        "src/step.rs",
        "src/step/",
        "tests/",
        "wit/",
    ],
    files: files!("examples/rust/http-function":
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "sluice.step.toml",
        "src/http.rs",
        "src/lib.rs",
    ),
};

const TINYGO_HTTP_FUNCTION: Overlay = Overlay {
    without: &[
        "README.md",
        "cases_test.go",
        "coupons.go",
        "internal/",
        "order.go",
        "order_test.go",
        "step/data.go",
        "step/db.go",
        "step/errors.go",
        "step/export.go",
        "step/fake.go",
        "step/host_tinygo.go",
        "step/http.go",
        "step/log.go",
        "step/stderr_tinygo.go",
        "step/step.go",
        "tests/",
        "wit/deps/sluice-step/",
    ],
    files: files!("examples/tinygo/http-function":
        "README.md",
        "handler/handler.go",
        "handler/host.go",
        "handler/host_tinygo.go",
        "internal/wasi/clocks/monotonic-clock/empty.s",
        "internal/wasi/clocks/monotonic-clock/monotonic-clock.wasm.go",
        "internal/wasi/clocks/monotonic-clock/monotonic-clock.wit.go",
        "internal/wasi/http/incoming-handler/empty.s",
        "internal/wasi/http/incoming-handler/incoming-handler.exports.go",
        "internal/wasi/http/incoming-handler/incoming-handler.wasm.go",
        "internal/wasi/http/incoming-handler/incoming-handler.wit.go",
        "internal/wasi/http/outgoing-handler/abi.go",
        "internal/wasi/http/outgoing-handler/empty.s",
        "internal/wasi/http/outgoing-handler/outgoing-handler.wasm.go",
        "internal/wasi/http/outgoing-handler/outgoing-handler.wit.go",
        "internal/wasi/http/types/abi.go",
        "internal/wasi/http/types/empty.s",
        "internal/wasi/http/types/types.wasm.go",
        "internal/wasi/http/types/types.wit.go",
        "internal/wasi/io/error/empty.s",
        "internal/wasi/io/error/error.wasm.go",
        "internal/wasi/io/error/error.wit.go",
        "internal/wasi/io/poll/empty.s",
        "internal/wasi/io/poll/poll.wasm.go",
        "internal/wasi/io/poll/poll.wit.go",
        "internal/wasi/io/streams/empty.s",
        "internal/wasi/io/streams/streams.wasm.go",
        "internal/wasi/io/streams/streams.wit.go",
        "main.go",
        "main_test.go",
        "sluice.step.toml",
        "wit/deps/http.wit",
        "wit/world.wit",
    ),
};
