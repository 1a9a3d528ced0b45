//! The WIT of steps as Rust types, generated once.
//!
//! `log` is not among the generated interfaces: `host::log` links it by hand,
//! because its strings must not be copied before their size is known.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package sluice:host;

        world host {
            import sluice:step/context@0.1.0;
            import sluice:step/http@0.1.0;
            import sluice:step/db@0.1.0;

            use sluice:step/types@0.1.0.{json, outcome};
            export run: func(input: json) -> outcome;
        }
    ",
    world: "sluice:host/host",
    imports: {
        "sluice:step/http": async,
        "sluice:step/db": async,
    },
});
