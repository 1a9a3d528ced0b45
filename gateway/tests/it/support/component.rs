//! Step components written as text: what no compiler would make of honest source.

/// `sluice:step/types`, as a component has to import it.
const TYPES: &str = include_str!("step-types.wat");

const RUN: &str = r#"
  (func $run (param "input" string) (result $outcome)
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "alloc"))))
  (export "run" (func $run))
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

/// Where [`module`] has its `outcome`; zeroes are `completed`, without `next`.
pub const OUTCOME: u32 = 1024;

/// A component of these core items, of which the core instance `$i` exports `memory`,
/// `alloc` and `run`.
pub fn component(core: &str) -> Vec<u8> {
    parse(&format!("(component {TYPES} {core} {RUN})"))
}

/// The core module `$m`: `items` (imports first), a memory of `pages`, and `run`, which
/// performs `body` and completes with the `$output_bytes` bytes at address 64: `null`,
/// unless the body puts something else there. It has the locals `$at` and `$n`.
pub fn module(pages: u32, items: &str, body: &str) -> String {
    module_on_memory(&format!("{items} (memory $memory {pages})"), body)
}

/// The same, with a memory `$memory` among its items.
pub fn module_on_memory(items: &str, body: &str) -> String {
    format!(
        r#"(core module $m {items}
          (export "memory" (memory $memory))
          (data (memory $memory) (i32.const 64) "null ")
          (global $output_bytes (mut i32) (i32.const 4))
          (func (export "run") (param i32 i32) (result i32) (local $at i32) (local $n i32)
            {body}
            (i32.store $memory (i32.const {pointer}) (i32.const 64))
            (i32.store $memory (i32.const {length}) (global.get $output_bytes))
            (i32.const {OUTCOME}))
          (func (export "alloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048)))"#,
        pointer = OUTCOME + 4,
        length = OUTCOME + 8,
    )
}

/// A component of one [`module`].
pub fn step(pages: u32, items: &str, body: &str) -> Vec<u8> {
    component(&format!("{} (core instance $i (instantiate $m))", module(pages, items, body)))
}

/// A component whose `run` completes with `output`, some text of JSON.
pub fn constant(output: &str) -> Vec<u8> {
    let escaped: String = output.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    assert!(output.len() < 900, "the outcome is behind it");
    let data = format!("(data $output \"{escaped}\")");
    let body = format!(
        "(memory.init $output (i32.const 64) (i32.const 0) (i32.const {length}))
         (global.set $output_bytes (i32.const {length}))",
        length = output.len()
    );
    step(1, &data, &body)
}

/// A step that gives its input back; two with other seeds have other bytes.
pub fn echo(seed: &str) -> Vec<u8> {
    echo_with(&format!("(@custom \"seed\" \"{seed}\")"))
}

/// A step that gives its input back, and has these items besides.
pub fn echo_with(items: &str) -> Vec<u8> {
    parse(&format!("(component {TYPES} {CORE} {RUN} {items})"))
}

/// A component in binary.
pub fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The same component with a section of `bytes` that means nothing.
pub fn padded(mut component: Vec<u8>, bytes: usize) -> Vec<u8> {
    const NAME: &[u8] = b"\x03pad";
    component.push(0);
    let mut left = NAME.len() + bytes;
    loop {
        let seven = u8::try_from(left & 0x7f).unwrap();
        left >>= 7;
        component.push(if left == 0 { seven } else { seven | 0x80 });
        if left == 0 {
            break;
        }
    }
    component.extend_from_slice(NAME);
    component.resize(component.len() + bytes, 7);
    component
}
