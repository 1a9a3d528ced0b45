use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::registry::fixtures::{component, importing, lifted, step, step_component};

fn codes(bytes: &[u8]) -> Vec<String> {
    inspect(bytes).map_or_else(|errors| errors.into_iter().map(|error| error.code).collect(), |_| Vec::new())
}

fn only_error(bytes: &[u8]) -> FieldError {
    let mut errors = inspect(bytes).expect_err("a refusal");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

fn text(source: &str) -> Vec<u8> {
    wat::parse_str(source).expect("the text of a component")
}

/// A component that only has this core module, and so nothing to call.
fn with_core(module: &str) -> Vec<u8> {
    component(&format!("{} (core module {module})", step("run")))
}

#[test]
fn a_component_with_steps_tells_its_functions_and_imports_sorted() {
    let items = [step("zeta"), step("alpha"), "(import \"wasi:io/poll@0.2.9\" (instance))".to_owned()].concat();
    let found = inspect(&component(&items)).expect("a step");
    assert_eq!(found.kind, ModuleKind::JobStep);
    assert_eq!(found.functions, ["alpha", "zeta"]);
    assert_eq!(found.imports, ["sluice:step/types@0.1.0", "wasi:io/poll@0.2.9"]);
    assert_eq!(found.warnings, Vec::<String>::new());
}

#[test]
fn what_is_uploaded_by_mistake_is_named() {
    let component = step_component("");
    let core = text("(module)");
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"(component)", "text-format"),
        (b"\n ;; a step\n (; of (; ours ;) ;) (module)", "text-format"),
        (b";; no parenthesis", "not-wasm"),
        (b"(; never closed", "not-wasm"),
        (b"\x1f\x8b\x08\0\0", "compressed"),
        (b"\x28\xb5\x2f\xfd\0", "compressed"),
        (b"\x7fELF\x02\x01", "precompiled"),
        (&core, "core-module"),
        (b"#!/bin/sh", "not-wasm"),
        (b"\0as", "malformed"),
        (b"\0asm\x0d\0", "malformed"),
        (b"\0asm\x0c\0\x01\0", "malformed"),
        (&component[..component.len() - 1], "malformed"),
        (&component[..60], "malformed"),
    ];
    for (bytes, code) in cases {
        assert_eq!(codes(bytes), [*code], "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_truncated_component_tells_where_it_ends() {
    let component = step_component("");
    let error = only_error(&component[..component.len() / 2]);
    assert_eq!(error.code, "malformed");
    assert!(error.message.contains("at offset 0x"), "{}", error.message);
}

#[test]
fn code_that_does_not_validate_is_refused() {
    let error = only_error(&with_core("(func (result i32) f32.const 1)"));
    assert_eq!((error.path.as_str(), error.code.as_str()), ("module", "invalid"));
}

#[test]
fn what_the_engine_does_not_run_is_refused_by_its_feature() {
    for module in ["(memory 1 1 shared)", "(memory i64 1)", "(table 1 externref)", "(type (struct))", "(tag)"] {
        assert_eq!(codes(&with_core(module)), ["unsupported-feature"], "{module}");
    }
}

#[test]
fn what_the_engine_runs_passes() {
    for module in [
        "(func (result v128) v128.const i32x4 0 0 0 0)",
        "(memory 1 1) (memory 1 1)",
        "(func $f return_call $f)",
        "(table 1 funcref)",
        "(func (result i32 i32) i32.const 1 i32.const 2)",
    ] {
        assert_eq!(codes(&with_core(module)), Vec::<String>::new(), "{module}");
    }
}

#[test]
fn a_component_over_a_bound_is_told_which_one() {
    let nested = |levels: usize| format!("{}{}", "(component ".repeat(levels), ")".repeat(levels));
    let blocks = |depth: usize| format!("(func {} {})", "block ".repeat(depth), "end ".repeat(depth));
    let cases = [
        ("core modules", component(&"(core module)".repeat(64))),
        ("levels of components", component(&nested(8))),
        ("functions", with_core(&"(func)".repeat(100_000))),
        ("bytes in the body", with_core(&format!("(func {})", "nop ".repeat(1024 * 1024)))),
        ("locals", with_core(&format!("(func (local {}))", "i32 ".repeat(5_001)))),
        ("levels of blocks", with_core(&blocks(2_001))),
        ("imports in a core module", with_core(&"(import \"a\" \"b\" (func))".repeat(10_001))),
        ("exports in a component", component(&many(1_001, "export", "(instance)"))),
        ("imports in a component", component(&many(1_001, "import", "(instance)"))),
        ("bytes in the name of an import", importing(&[&format!("a:b/c{}", "c".repeat(260))])),
    ];
    for (what, bytes) in cases {
        let error = only_error(&bytes);
        assert_eq!(error.code, "too-complex", "{what}: {}", error.message);
        assert!(error.message.contains(what), "{what}: {}", error.message);
    }
}

#[test]
fn a_component_at_its_bounds_passes() {
    let nested = |levels: usize| format!("{}{}", "(component ".repeat(levels), ")".repeat(levels));
    let items = [step("run"), "(core module)".repeat(63), nested(7)].concat();
    assert_eq!(codes(&component(&items)), Vec::<String>::new());
    let core =
        format!("(func (local {})) (func {} {})", "i32 ".repeat(5_000), "block ".repeat(1_998), "end ".repeat(1_998));
    assert_eq!(codes(&with_core(&core)), Vec::<String>::new());
}

/// A section or component of this id with this content.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(content);
    bytes
}

fn binary(sections: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", sections].concat()
}

#[test]
fn types_nested_however_deep_are_refused_on_a_small_stack() {
    const TYPES: u8 = 7;
    const COMPONENT: u8 = 4;
    let check = || {
        for opens in [[0x41, 1, 1], [0x42, 1, 1]] {
            let types = section(TYPES, &[&[1][..], &opens.repeat(100_000)].concat());
            for bytes in [binary(&types), binary(&section(COMPONENT, &binary(&types)))] {
                let error = only_error(&bytes);
                assert_eq!(error.code, "too-complex", "{}", error.message);
                assert!(error.message.contains("levels of types"), "{}", error.message);
            }
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).expect("a thread").join().expect("refusals");
}

#[test]
fn types_nested_to_the_bound_pass() {
    let nested = |ty: &str, levels: usize| format!("{}{}", format!("(type ({ty} ").repeat(levels), "))".repeat(levels));
    for ty in ["component", "instance"] {
        assert_eq!(codes(&component(&[step("run"), nested(ty, 32)].concat())), Vec::<String>::new(), "{ty}");
        assert_eq!(codes(&component(&nested(ty, 33))), ["too-complex"], "{ty}");
    }
}

#[test]
fn declarations_of_types_are_counted_wherever_they_are() {
    let bool_types = |count: usize| "(type bool)".repeat(count);
    for items in [
        bool_types(100_001),
        format!("(type (instance {}))", bool_types(100_000)),
        format!("{0} {0}", format!("(type (component {}))", bool_types(50_000))),
        format!("(component {}) {}", bool_types(50_000), bool_types(50_001)),
        format!("{0} {0}", format!("(core type (module {}))", "(type (func))".repeat(50_000))),
        format!("(type (instance {0} {0}))", format!("(core type (module {}))", "(type (func))".repeat(50_000))),
        format!("(core module {})", "(type (func))".repeat(100_001)),
    ] {
        let error = only_error(&component(&items));
        assert!(error.message.contains("declarations of types"), "{:.80}: {}", items, error.message);
    }
}

fn many(count: usize, verb: &str, ty: &str) -> String {
    let mut items = step("run");
    if verb == "export" {
        items.push_str("(instance $empty)");
    }
    for index in 0..count {
        let item = if verb == "export" { "(instance $empty)" } else { ty };
        write!(items, "({verb} \"i{index}\" {item})").expect("writing to a string");
    }
    items
}

#[test]
fn every_interface_of_this_host_can_be_imported_at_any_compatible_version() {
    let known = [
        "sluice:step/log@0.1.0",
        "sluice:step/context@0.1.7",
        "sluice:step/http@0.1.0",
        "sluice:step/db@0.1.0",
        "wasi:cli/environment@0.2.0",
        "wasi:io/streams@0.2.6",
        "wasi:clocks/wall-clock@0.2.12",
        "wasi:random/random@0.2.3",
        "wasi:filesystem/types@0.2.3",
        "wasi:sockets/tcp@0.2.3",
        "wasi:http/types@0.2.3",
    ];
    let found = inspect(&importing(&known)).expect("known imports");
    assert_eq!(found.imports.len(), known.len() + 1);
}

#[test]
fn an_unknown_import_is_named_with_what_there_is() {
    let cases = [
        ("sluice:step/log@0.2.0", "sluice:step/log@0.1,"),
        ("sluice:step/log@0.1.0-rc.1", "sluice:step/log@0.1,"),
        ("sluice:step/log", "sluice:step/log@0.1,"),
        ("sluice:step/mail@0.1.0", "no interface `mail`"),
        ("wasi:cli/environment@0.3.0", "wasi:cli/environment@0.2,"),
        ("wasi:cli/environment@0.2.0-rc.1", "wasi:cli/environment@0.2,"),
        ("wasi:keyvalue/store@0.2.0", "wasi:{cli,io"),
        ("acme:mail/send@1.0.0", "sluice:step/{types"),
        ("plain", "sluice:step/{types"),
    ];
    for (name, hint) in cases {
        let error = only_error(&importing(&[name]));
        assert_eq!((error.path.as_str(), error.code.as_str()), (name, "unknown-import"));
        assert!(error.message.contains(name) && error.message.contains(hint), "{}", error.message);
    }
}

#[test]
fn every_unknown_import_is_told_but_no_more_than_twenty() {
    let names: Vec<_> = (0..30).map(|index| format!("acme:mail/i{index}@1.0.0")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(codes(&importing(&names[..3])), ["unknown-import"; 3]);
    assert_eq!(codes(&importing(&names)).len(), 20);
}

#[test]
fn a_function_that_an_interface_does_not_have_is_named() {
    let items = [
        step("run"),
        r#"(import "sluice:step/context@0.1.0" (instance (export "frobnicate" (func)) (export "get" (func))))"#
            .to_owned(),
    ];
    let error = only_error(&component(&items.concat()));
    assert_eq!((error.path.as_str(), error.code.as_str()), ("sluice:step/context@0.1.0#frobnicate", "unknown-import"));
    assert!(error.message.contains("current, get, set"), "{}", error.message);
}

#[test]
fn only_interfaces_and_aliases_of_their_types_can_be_imported() {
    for item in ["(func)", "(component)", "(core module)", "(type (sub resource))"] {
        let error = only_error(&component(&format!("{} (import \"thing\" {item})", step("run"))));
        assert_eq!((error.path.as_str(), error.code.as_str()), ("thing", "unknown-import"), "{item}");
    }
}

#[test]
fn the_name_of_a_steps_parameter_is_free() {
    let bytes = component(&lifted("run", "(param \"order\" string) (result $outcome)"));
    assert_eq!(inspect(&bytes).expect("a step").functions, ["run"]);
}

#[test]
fn functions_of_other_types_beside_a_step_are_no_error() {
    let items = [step("run"), lifted("helper", "(param \"input\" string) (result string)")].concat();
    assert_eq!(inspect(&component(&items)).expect("a step").functions, ["run"]);
}

#[test]
fn a_function_of_another_type_is_shown_beside_the_one_that_is_wanted() {
    let bytes = component(&lifted("run", "(param \"input\" string) (result (result (list string) (error string)))"));
    let errors = inspect(&bytes).expect_err("no step function");
    let codes: Vec<_> = errors.iter().map(|error| (error.path.as_str(), error.code.as_str())).collect();
    assert_eq!(codes, [("module", "no-step-function"), ("run", "wrong-type")]);
    assert!(errors[0].message.contains("func(input: string) -> variant { completed(record { output: string, next: "));
    assert!(errors[1].message.contains("func(input: string) -> result<list<string>, string>"), "{}", errors[1].message);
    assert!(errors[1].message.contains("failed(record { code: string, message: string, retryable: bool, "));
}

#[test]
fn a_component_without_exports_has_nothing_to_call() {
    assert_eq!(codes(&component("")), ["no-step-function"]);
}

#[test]
fn a_handler_of_wasi_http_makes_an_http_function_and_a_step_beside_it_a_job_step() {
    let handler = |version: &str| {
        format!(
            r#"(func $handle (canon lift (core func $j "handle")))
               (component $c (import "f" (func $f)) (export "handle" (func $f)))
               (instance $handler (instantiate $c (with "f" (func $handle))))
               (export "wasi:http/incoming-handler@{version}" (instance $handler))"#
        )
    };
    let core = r#"(core module $n (func (export "handle"))) (core instance $j (instantiate $n))"#;
    let http = inspect(&component(&[core, &handler("0.2.6")].concat())).expect("an HTTP function");
    assert_eq!((http.kind, http.functions), (ModuleKind::Http, Vec::new()));
    let both = inspect(&component(&[core, &handler("0.2.6"), &step("run")].concat())).expect("both");
    assert_eq!((both.kind, both.functions), (ModuleKind::JobStep, vec!["run".to_owned()]));
    assert_eq!(codes(&component(&[core, &handler("0.3.0")].concat())), ["no-step-function"]);
}

#[test]
fn memories_without_bound_and_large_ones_are_warned_of() {
    let unbounded = inspect(&with_core("(memory 1)")).expect("a step");
    assert!(
        matches!(&*unbounded.warnings, [one] if one.starts_with("note: its memory has no maximum")),
        "{:?}",
        unbounded.warnings
    );
    // The fixture has one page already.
    let resident = inspect(&with_core("(memory 7 32)")).expect("a step");
    assert_eq!(resident.warnings, Vec::<String>::new());
    let large = inspect(&with_core("(memory 8 32)")).expect("a step");
    assert!(matches!(&*large.warnings, [one] if one.contains("589824 bytes")), "{:?}", large.warnings);
}

/// A quarter of a million strings when it is written out.
#[test]
fn a_type_that_explodes_is_neither_compared_nor_shown_in_full() {
    let mut items = String::from("(type $t0 (tuple string string))");
    for level in 1..18 {
        write!(items, "(type $t{level} (tuple $t{0} $t{0}))", level - 1).expect("writing to a string");
    }
    items.push_str(&lifted("run", "(param \"input\" string) (result $t17)"));
    let errors = inspect(&component(&items)).expect_err("no step function");
    assert!(errors[1].message.len() < 2_000, "{}", errors[1].message.len());
    assert!(errors[1].message.contains('…'));
}

fn is_valid(bytes: &[u8]) -> bool {
    wasmparser::Parser::is_component(bytes) && wasmparser::Validator::new().validate_all(bytes).is_ok()
}

/// Positions and the bytes that are put there.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn p19_module_format_validation_takes_no_random_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        with_header in any::<bool>(),
    ) {
        let mut module = if with_header { b"\0asm\x0d\0\x01\0".to_vec() } else { Vec::new() };
        module.extend(bytes);
        prop_assert!(inspect(&module).is_err() || is_valid(&module));
    }

    #[test]
    fn p19_module_format_validation_takes_a_damaged_component_only_where_it_is_still_valid(
        damage in damage(),
        end in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let items = [step("run"), lifted("helper", "(param \"a\" (list u8)) (result string)")].concat();
        let mut module = component(&items);
        for (at, byte) in damage {
            let at = at.index(module.len());
            module[at] = byte;
        }
        if let Some(end) = end {
            module.truncate(end.index(module.len()));
        }
        match inspect(&module) {
            Ok(found) => {
                prop_assert!(is_valid(&module));
                prop_assert!(!found.functions.is_empty());
            }
            Err(errors) => prop_assert!(!errors.is_empty() && errors.len() <= ERRORS_MAX),
        }
    }
}

#[test]
fn a_start_function_over_its_budget_is_warned_of_and_a_short_one_is_not() {
    let warned = |core: &str| {
        let found = inspect(&with_core(core)).expect("a step");
        found.warnings.iter().filter(|warning| warning.contains("start function")).count()
    };
    let nops = |count: usize| "nop ".repeat(count);
    assert_eq!(warned(&format!("(func $f {}) (start $f)", nops(900))), 0);
    assert_eq!(warned(&format!("(func $f {}) (start $f)", nops(1_100))), 1);
    assert_eq!(warned("(func $f (loop (br 0))) (start $f)"), 1);
    // The loop is in another function than the one that starts, or in one of another module.
    assert_eq!(warned("(func $f) (func (loop (br 0))) (start $f)"), 0);
    assert_eq!(warned("(func $f) (start $f)) (core module (func (loop (br 0)))"), 0);
    assert_eq!(warned("(import \"a\" \"b\" (func $f)) (func (loop (br 0))) (start $f)"), 0);
}
