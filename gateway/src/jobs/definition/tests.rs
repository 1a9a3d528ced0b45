use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::job::{RunStatus, StepKind};

/// An operator with one of each.
pub(in crate::jobs) struct Operator;

impl Known for Operator {
    fn module(&self, module: &ModuleRef) -> KnownModule {
        match module.to_string().as_str() {
            text if text.starts_with("order-rules") => {
                KnownModule::Found { functions: vec!["run".to_owned(), "summarize".to_owned()] }
            }
            text if text.starts_with("site") => KnownModule::Found { functions: Vec::new() },
            _ => KnownModule::NotFound,
        }
    }

    fn has_database(&self, name: &str) -> bool {
        name == "orders"
    }

    fn has_secret(&self, name: &str) -> bool {
        ["prices", "hook"].contains(&name)
    }

    fn ceilings(&self) -> EffectiveLimits {
        EffectiveLimits { fuel: Some(1_000_000_000), memory_bytes: 64 << 20, timeout_ms: 30_000 }
    }
}

/// The contract's, with a review that is this operator's, and with hook and notification.
pub(in crate::jobs) const EXAMPLE: &str = r#"
name: order-intake
description: Checks, prices and stores an order.
retry: {max_attempts: 3, initial_interval_ms: 200, multiplier: 2.0, max_interval_ms: 10000, jitter: true}
env: {REGION: eu}
steps:
  - id: validate
    type: wasm
    module: order-rules@^1
    function: run
    input: {order: "{{ trigger }}", region: "{{ data.region | default('eu') }}"}
    env: {MODE: strict}
    limits: {timeout_ms: 500, memory_bytes: 33554432, fuel: 50000000}
    routes: [price, review]
  - id: price
    type: http
    method: POST
    url: "https://prices.example.com/v1/{{ steps.validate.output.sku }}"
    headers: {authorization: "Bearer {{secret:prices}}"}
    body: {quantity: "{{ data.order.quantity }}", region: "{{ env.REGION }}"}
    success: [200, 201]
    retry: {max_attempts: 9}
  - id: pause
    type: wait
    duration_ms: 1000
    when: "{{ data.total > 100 }}"
  - id: store
    type: database
    connection: orders
    mode: execute
    sql: insert into orders (id, total) values ($1, $2)
    params: ["{{ data.order.id }}", "{{ data.order.total }}"]
    next: []
  - id: review
    type: wasm
    module: order-rules@1.0.0
    timeout_ms: 5000
hook: {secrets: ["whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", "{{secret:hook}}"]}
notify:
  - {url: "https://example.com/ends", secret: "{{secret:hook}}"}
"#;

pub(in crate::jobs) fn example() -> Value {
    parse_yaml(EXAMPLE.as_bytes()).unwrap()
}

fn mistakes(value: Value) -> Vec<(String, String)> {
    check(value, &Operator).unwrap_err().into_iter().map(|error| (error.path, error.code)).collect()
}

/// The one mistake of the example with this in it.
fn mistake(pointer: &str, value: Value) -> FieldError {
    let mut definition = example();
    set(&mut definition, pointer, value);
    let mut errors = check(definition, &Operator).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

/// Puts a value at a pointer, the last member of which need not be there.
pub(in crate::jobs) fn set(definition: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match definition.pointer_mut(parent).unwrap() {
        Value::Object(members) => {
            members.insert(name.to_owned(), value);
        }
        Value::Array(items) if name == "-" => items.push(value),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no members"),
    }
}

fn remove(definition: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    definition.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

#[test]
fn the_contracts_example_is_right_and_gets_its_defaults() {
    let Checked { definition, warnings } = check(example(), &Operator).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(definition.steps[1].retry, Some(RetryPolicy { max_attempts: 9, ..RetryPolicy::default() }));
    let StepKind::Wasm(review) = &definition.steps[4].kind else { panic!("{:?}", definition.steps[4]) };
    assert_eq!((review.function.as_str(), &review.input), ("run", &None));
    assert_eq!(definition.notify[0].on, [RunStatus::Completed, RunStatus::Failed]);
    assert_eq!(
        edges(&definition.steps),
        [vec![1, 4], vec![2], vec![3], vec![], vec![]].map(|mut after: Vec<usize>| {
            after.sort_unstable();
            after
        })
    );
}

#[test]
fn a_step_that_nothing_reaches_is_a_warning() {
    let mut definition = example();
    set(&mut definition, "/steps/0/routes", json!(["price"]));
    let checked = check(definition, &Operator).unwrap();
    let warnings: Vec<_> = checked.warnings.iter().map(|one| (one.path.as_str(), one.code.as_str())).collect();
    assert_eq!(warnings, [("/steps/4", "unreachable")]);
}

#[test]
fn a_circle_is_refused_with_its_steps_through_whichever_edges() {
    let error = mistake("/steps/3/next", json!(["price"]));
    assert_eq!((error.path.as_str(), error.code.as_str()), ("/steps/3/next/0", "cycle"));
    assert!(error.message.contains("price → pause → store → price"), "{}", error.message);
    let error = mistake("/steps/4/routes", json!(["review"]));
    assert_eq!((error.path.as_str(), error.code.as_str()), ("/steps/4/routes/0", "cycle"));
    let error = mistake("/steps/4/next", json!(["validate"]));
    assert_eq!(error.path, "/steps/4/next/0");
}

#[test]
fn a_thousand_steps_with_every_edge_there_is_room_for_are_checked_in_no_time() {
    let steps = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|index| {
                let next: Vec<_> = (index + 1..count).take(20).map(|next| format!("s{next}")).collect();
                let when = "{{ steps.s0.status == 'completed' }}";
                let mut step = json!({"id": format!("s{index}"), "type": "wait", "duration_ms": 1, "next": next});
                if index > 0 {
                    step["when"] = json!(when);
                }
                step
            })
            .collect()
    };
    let started = std::time::Instant::now();
    check(json!({"name": "wide", "steps": steps(900)}), &Operator).unwrap();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(
        mistakes(json!({"name": "many", "steps": vec![json!(1); 1001]})),
        [("/steps".into(), "too-many".into())]
    );
    let long =
        json!({"name": "long", "steps": [{"id": "a", "type": "wait", "until": "x".repeat(DEFINITION_BYTES_MAX)}]});
    assert_eq!(mistakes(long), [(String::new(), "too-long".into())]);
}

#[test]
fn what_a_template_names_has_to_be_able_to_exist() {
    for (expression, word) in [
        ("{{ tigger.a }}", "did you mean `trigger`"),
        ("{{ steps.prise.output }}", "did you mean `price`"),
        ("{{ steps['prise'].output }}", "there is no step `prise`"),
        ("{{ steps.store.output }}", "can't have run before"),
        ("{{ steps.pause.output }}", "can't have run before"),
        ("{{ steps.price.outptu }}", "did you mean `output`"),
        ("{{ run.number }}", "there is no `run.number`"),
        ("{{ env.REGON }}", "did you mean `REGION`"),
        ("{{ debug() }}", "`debug` names nothing"),
    ] {
        let error = mistake("/steps/2/duration_ms", json!(expression));
        assert_eq!(
            (error.path.as_str(), error.code.as_str()),
            ("/steps/2/duration_ms", "unknown-name"),
            "{expression}"
        );
        assert!(error.message.contains(word), "{expression}: {}", error.message);
    }
    for expression in [
        "{{ steps.price.output.body.ms }}",
        "{{ steps['validate']['output'] }}",
        "{{ range(3) | sum }}",
        "{{ run.id }}",
    ] {
        let mut definition = example();
        set(&mut definition, "/steps/2/duration_ms", json!(expression));
        check(definition, &Operator).expect(expression);
    }
}

#[test]
fn what_is_no_template_is_told_with_its_position() {
    for (text, position) in [
        ("ab {{ 1 + }}", 6),
        ("ä{{ x", 2),
        ("{% if x %}", 1),
        ("a {# b #}", 3),
        ("{{- data }}", 1),
        ("{{}}", 3),
        ("{{ data | frobnicate }}", 11),
        ("{{secret:no good}}", 1),
        ("{{ secret:prices }}", 3),
    ] {
        let error = mistake("/steps/1/body", json!({"a": text}));
        assert_eq!((error.path.as_str(), error.code.as_str()), ("/steps/1/body/a", "bad-template"), "{text}");
        assert!(error.message.starts_with(&format!("at character {position}: ")), "{text}: {}", error.message);
    }
    assert_eq!(mistake("/steps/2/when", json!("data.total > 100")).code, "bad-template");
}

#[test]
fn a_step_of_an_unknown_kind_is_not_blamed_for_its_members() {
    let mut definition = example();
    set(&mut definition, "/steps/2/type", json!("wiat"));
    let errors = check(definition, &Operator).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.contains("did you mean `wait`"), "{errors:?}");
}

/// An operator without anything.
struct Nothing;
impl Known for Nothing {
    fn module(&self, _: &ModuleRef) -> KnownModule {
        KnownModule::NotFound
    }
    fn has_database(&self, _: &str) -> bool {
        false
    }
    fn has_secret(&self, _: &str) -> bool {
        false
    }
    fn ceilings(&self) -> EffectiveLimits {
        EffectiveLimits { fuel: None, memory_bytes: 1, timeout_ms: 1 }
    }
}

#[test]
fn a_definition_that_was_right_is_read_again_when_what_it_names_is_gone() {
    let definition = check(example(), &Operator).unwrap().definition;
    assert_eq!(stored(&JsonText::of(&definition)).unwrap(), definition);
    let mut errors = check(example(), &Nothing).unwrap_err();
    errors.sort_by(|one, other| one.path.cmp(&other.path));
    let told: Vec<_> = errors.iter().map(|error| (error.path.as_str(), error.code.as_str())).collect();
    let expected = [
        ("/hook/secrets/1", "unknown-secret"),
        ("/notify/0/secret", "unknown-secret"),
        ("/steps/0/limits/fuel", "above-ceiling"),
        ("/steps/0/limits/memory_bytes", "above-ceiling"),
        ("/steps/0/limits/timeout_ms", "above-ceiling"),
        ("/steps/0/module", "unknown-module"),
        ("/steps/1/headers/authorization", "unknown-secret"),
        ("/steps/3/connection", "unknown-database"),
        ("/steps/4/module", "unknown-module"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn yaml_is_read_as_version_1_2_has_it_and_what_json_says_says_yaml_too() {
    let yaml = "a: no\nb: on\nc: 2001-12-14\nd: !!str 5\ne: !thing x\nf: 0755\ng: 1_000\nh: 12:30:45\ni: ~\nj: true\nk: 1.5\nl: !!binary aGk=\n7: x\n";
    let read = parse_yaml(yaml.as_bytes()).unwrap();
    let expected = json!({"a": "no", "b": "on", "c": "2001-12-14", "d": "5", "e": "x", "f": "0755", "g": "1_000",
        "h": "12:30:45", "i": null, "j": true, "k": 1.5, "l": "aGk=", "7": "x"});
    assert_eq!(read, expected);
    assert_eq!(
        parse_yaml(b"a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n").unwrap(),
        json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}})
    );
    let json = example().to_string();
    assert_eq!(parse_yaml(json.as_bytes()).unwrap(), parse_json(json.as_bytes()).unwrap());
}

#[test]
fn a_text_that_says_two_things_or_too_much_is_refused() {
    for text in ["{\"a\": 1, \"a\": 2}", "[{\"b\": {\"a\": 1, \"a\": 2}}]"] {
        assert_eq!(parse_json(text.as_bytes()).unwrap_err().code, "duplicate", "{text}");
        assert_eq!(parse_yaml(text.as_bytes()).unwrap_err().code, "invalid-yaml", "{text}");
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_json(deep(127).as_bytes()).is_ok() && parse_yaml(deep(64).as_bytes()).is_ok());
    assert_eq!(parse_json(deep(128).as_bytes()).unwrap_err().code, "invalid-json");
    assert_eq!(parse_yaml(deep(65).as_bytes()).unwrap_err().code, "invalid-yaml");
    assert_eq!(parse_yaml(deep(100_000).as_bytes()).unwrap_err().code, "invalid-yaml");
    let long = vec![b' '; DEFINITION_BYTES_MAX + 1];
    assert_eq!(parse_json(&long).unwrap_err().code, "too-long");
    assert_eq!(parse_yaml(&long).unwrap_err().code, "too-long");
    for text in ["a: .nan", "a: 1e999", "a: 1\n---\nb: 2\n", "a: *unknown", "\u{0}", "a: [", "? {a: b}\n: c\n"] {
        assert_eq!(parse_yaml(text.as_bytes()).unwrap_err().code, "invalid-yaml", "{text}");
    }
    assert_eq!(parse_yaml(&[0xff, 0xfe, 0x00]).unwrap_err().code, "invalid-yaml");
}

#[test]
fn aliases_of_aliases_are_bounded_in_number_and_depth() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", ")));
    }
    assert_eq!(parse_yaml(bomb.as_bytes()).unwrap_err().code, "invalid-yaml");
    let mut deep = format!("a0: &a0 {}x{}\n", "[".repeat(40), "]".repeat(40));
    for level in 1..100 {
        deep.push_str(&format!("a{level}: &a{level} {}*a{}{}\n", "[".repeat(40), level - 1, "]".repeat(40)));
    }
    assert_eq!(parse_yaml(deep.as_bytes()).unwrap_err().code, "invalid-yaml");
}

/// A mistake that can be put into the example, and what is told of it.
type Planted = (fn(&mut Value), &'static str, &'static str);

/// Each touches members of its own, so that any of them can be together.
const PLANTED: &[Planted] = &[
    (|job| set(job, "/name", json!("Order Intake")), "/name", "bad-name"),
    (|job| set(job, "/descripton", json!("x")), "/descripton", "unknown-field"),
    (|job| set(job, "/description", json!("x".repeat(5000))), "/description", "too-long"),
    (|job| set(job, "/retry/max_attempts", json!(0)), "/retry/max_attempts", "out-of-range"),
    (|job| set(job, "/retry/multiplier", json!(0.5)), "/retry/multiplier", "out-of-range"),
    (|job| set(job, "/retry/initial_interval_ms", json!(10_001)), "/retry/initial_interval_ms", "out-of-range"),
    (|job| set(job, "/retry/jitter", json!("yes")), "/retry/jitter", "wrong-type"),
    (|job| set(job, "/env/OTHER", json!("{{secret:prices}}")), "/env/OTHER", "secret-not-allowed"),
    (|job| remove(job, "/steps/0/module"), "/steps/0/module", "required"),
    (|job| set(job, "/steps/0/input/order", json!("{{ tigger }}")), "/steps/0/input/order", "unknown-name"),
    (
        |job| set(job, "/steps/0/input/more", json!(["{{secret:prices}}"])),
        "/steps/0/input/more/0",
        "secret-not-allowed",
    ),
    (|job| set(job, "/steps/0/env/A=B", json!("x")), "/steps/0/env/A=B", "bad-name"),
    (|job| set(job, "/steps/0/env/BAD", json!("{{ 1 +")), "/steps/0/env/BAD", "bad-template"),
    (|job| set(job, "/steps/0/limits/fuel", json!(2_000_000_000)), "/steps/0/limits/fuel", "above-ceiling"),
    (|job| set(job, "/steps/0/limits/timeout_ms", json!(0)), "/steps/0/limits/timeout_ms", "out-of-range"),
    (|job| set(job, "/steps/0/limits/cpu", json!(1)), "/steps/0/limits/cpu", "unknown-field"),
    (|job| set(job, "/steps/1/method", json!("PO ST")), "/steps/1/method", "bad-method"),
    (|job| set(job, "/steps/1/url", json!("ftp://example.com/x")), "/steps/1/url", "bad-url"),
    (|job| set(job, "/steps/1/headers/x y", json!("z")), "/steps/1/headers/x y", "bad-header"),
    (|job| set(job, "/steps/1/headers/Authorization", json!("z")), "/steps/1/headers/authorization", "duplicate"),
    (|job| set(job, "/steps/1/body/key", json!("{{secret:others}}")), "/steps/1/body/key", "unknown-secret"),
    (|job| set(job, "/steps/1/success", json!([99])), "/steps/1/success/0", "out-of-range"),
    (|job| set(job, "/steps/1/retry", json!({"max_attempts": 101})), "/steps/1/retry/max_attempts", "out-of-range"),
    (|job| set(job, "/steps/1/timeout_ms", json!(3_600_001)), "/steps/1/timeout_ms", "out-of-range"),
    (|job| remove(job, "/steps/2/duration_ms"), "/steps/2", "required"),
    (|job| set(job, "/steps/2/when", json!("always")), "/steps/2/when", "bad-template"),
    (|job| set(job, "/steps/2/connection", json!("orders")), "/steps/2/connection", "unknown-field"),
    (|job| set(job, "/steps/3/connection", json!("others")), "/steps/3/connection", "unknown-database"),
    (|job| set(job, "/steps/3/mode", json!("write")), "/steps/3/mode", "unknown-mode"),
    (|job| set(job, "/steps/3/sql", json!("  ")), "/steps/3/sql", "empty"),
    (|job| set(job, "/steps/3/params", json!({})), "/steps/3/params", "wrong-type"),
    (|job| set(job, "/steps/3/next", json!(["stores"])), "/steps/3/next/0", "unknown-step"),
    (|job| set(job, "/steps/4/module", json!("nobody@^1")), "/steps/4/module", "unknown-module"),
    (|job| set(job, "/steps/4/when", json!(true)), "/steps/4/when", "wrong-type"),
    (|job| set(job, "/steps/4/next", json!(["validate"])), "/steps/4/next/0", "cycle"),
    (|job| set(job, "/steps/-", json!({"id": "price", "type": "wait", "duration_ms": 1})), "/steps/5/id", "duplicate"),
    (|job| set(job, "/hook/secrets/0", json!("whsec_short")), "/hook/secrets/0", "bad-secret"),
    (|job| set(job, "/notify/0/url", json!("mailto:a@b")), "/notify/0/url", "bad-url"),
    (|job| set(job, "/notify/0/on", json!(["started"])), "/notify/0/on/0", "unknown-status"),
    (|job| set(job, "/notify/0/secret", json!("{{secret:nobodys}}")), "/notify/0/secret", "unknown-secret"),
];

proptest! {
    #[test]
    fn p47_job_definition_validation_tells_every_planted_mistake_and_no_other(
        planted in prop::collection::btree_set(0..PLANTED.len(), 1..=8),
    ) {
        let mut definition = example();
        let mut expected = Vec::new();
        // One that adds a step comes last, so that the others' places stay.
        for &index in &planted {
            let (plant, path, code) = PLANTED[index];
            plant(&mut definition);
            expected.push((path.to_owned(), code.to_owned()));
        }
        let mut told = mistakes(definition);
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn p48_wasm_step_integration_definitions_are_read_as_they_are_written(definition in definition()) {
        let checked = check(definition, &Operator).unwrap().definition;
        let text = JsonText::of(&checked);
        prop_assert_eq!(&stored(&text).unwrap(), &checked);
        // As JSON of its own it is a definition as people write it, too.
        let again = check(serde_json::from_str(text.as_str()).unwrap(), &Operator).unwrap().definition;
        prop_assert_eq!(again, checked);
    }

    #[test]
    fn p_any_json_is_checked_without_a_panic(value in crate::model::any_json(), at in 0..6_usize) {
        let mut definition = example();
        let pointer = ["/steps", "/steps/0", "/steps/1/headers", "/retry", "/notify", "/steps/0/next"][at];
        set(&mut definition, pointer, value);
        if let Ok(checked) = check(definition, &Operator) {
            prop_assert_eq!(stored(&JsonText::of(&checked.definition)).unwrap(), checked.definition);
        }
    }

    #[test]
    fn p_any_text_is_parsed_without_a_panic(text in "\\PC{0,80}") {
        let _ = parse_yaml(text.as_bytes());
        let _ = parse_json(text.as_bytes());
    }
}

/// Definitions of wasm steps with all their members there or not.
fn definition() -> impl Strategy<Value = Value> {
    let text = "[a-zA-Z0-9 {}%äöü]{0,12}"
        .prop_filter("no template", |text: &String| !["{{", "{%", "{#"].iter().any(|open| text.contains(open)));
    let env = prop::collection::btree_map("[A-Z]{1,6}", text.clone(), 0..4);
    let limits = (prop::option::of(1..1_000_000_u64), prop::option::of(1..30_000_u64))
        .prop_map(|(fuel, timeout_ms)| json!({"fuel": fuel, "timeout_ms": timeout_ms}));
    let retry = prop::option::of((1..=100_u64, 1..=100_u32).prop_map(
        |(attempts, multiplier)| json!({"max_attempts": attempts, "multiplier": f64::from(multiplier) / 1.0}),
    ));
    let step = (
        prop::option::of(plain_json()),
        env.clone(),
        limits,
        retry,
        prop::option::of(1..=3_600_000_u64),
        prop::option::of(prop::bool::ANY),
        prop::option::of(prop::collection::vec(prop::bool::ANY, 0..3)),
    );
    (prop::collection::vec(step, 1..8), env, prop::option::of(text)).prop_map(|(steps, env, description)| {
        let count = steps.len();
        let step = |(index, (input, env, limits, retry, timeout_ms, next, routes)): (usize, _)| {
            let (next, routes, timeout_ms): (Option<bool>, Option<Vec<bool>>, Option<u64>) = (next, routes, timeout_ms);
            let after: Vec<_> = (index + 1..count).map(|after| format!("s{after}")).collect();
            let members: [(&str, Option<Value>); 9] = [
                ("id", Some(json!(format!("s{index}")))),
                ("type", Some(json!("wasm"))),
                ("module", Some(json!("order-rules@^1"))),
                ("function", next.map(|_| json!("summarize"))),
                ("input", input),
                ("retry", retry),
                ("timeout_ms", timeout_ms.map(|ms| json!(ms))),
                ("next", next.map(|all| if all { json!(after) } else { json!([]) })),
                ("routes", routes.map(|some| json!(after.iter().take(some.len()).collect::<Vec<_>>()))),
            ];
            let members = members.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
            let mut object: serde_json::Map<_, _> = members.collect();
            object.insert("env".to_owned(), json!(env));
            object.insert("limits".to_owned(), limits);
            Value::Object(object)
        };
        let steps: Vec<_> = steps.into_iter().enumerate().map(step).collect();
        let mut job = json!({"name": "any", "env": env, "steps": steps});
        if let Some(description) = description {
            job["description"] = json!(description);
        }
        job
    })
}

/// JSON without templates.
fn plain_json() -> impl Strategy<Value = Value> {
    crate::model::any_json()
        .prop_filter("no template", |value| !["{{", "{%", "{#"].iter().any(|open| value.to_string().contains(open)))
}
