//! Components that are written as text: small, quick to compile, or odd.

/// `sluice:step/types`, as every step imports it.
const TYPES: &str = r#"
  (import "sluice:step/types@0.1.0" (instance $types
    (type $error' (record (field "path" string) (field "code" string) (field "message" string)))
    (export "validation-error" (type $error (eq $error')))
    (type $completed' (record (field "output" string) (field "next" (option (list string)))))
    (export "completed" (type $completed (eq $completed')))
    (type $failure' (record (field "code" string) (field "message" string) (field "retryable" bool)
      (field "retry-after-ms" (option u32)) (field "details" (option string))))
    (export "failure" (type $failure (eq $failure')))
    (type $outcome' (variant (case "completed" $completed) (case "invalid" (list $error)) (case "failed" $failure)))
    (export "outcome" (type $outcome (eq $outcome')))))
  (alias export $types "outcome" (type $outcome'))
  (import "outcome" (type $outcome (eq $outcome')))
"#;

/// `completed` with the input as output, at address 16; memory is given away and never taken back.
const CORE: &str = r#"
  (core module $m
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 1024))
    (func (export "alloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "run") (param i32 i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store offset=4 (i32.const 16) (local.get 0))
      (i32.store offset=8 (i32.const 16) (local.get 1))
      (i32.store8 offset=12 (i32.const 16) (i32.const 0))
      (i32.const 16)))
  (core instance $i (instantiate $m))
"#;

const STEP: &str = r#"
  (func $run (param "input" string) (result $outcome)
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "alloc"))))
  (export "run" (func $run))
"#;

/// A step that gives its input back; two with other seeds have other bytes.
pub fn echo(seed: &str) -> Vec<u8> {
    echo_with(&format!("(@custom \"seed\" \"{seed}\")"))
}

/// A step that gives its input back, and has these items besides.
pub fn echo_with(items: &str) -> Vec<u8> {
    parse(&format!("(component {TYPES} {CORE} {STEP} {items})"))
}

/// A component in binary.
pub fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}
