use std::str::FromStr as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::jobs::definition;
use crate::model::any_json;

/// A job of these steps, without what only an operator can say of it.
fn job(steps: &Value) -> Definition {
    let definition = json!({"name": "templates", "env": {"REGION": "eu", "MODE": "lax"}, "steps": steps});
    definition::stored(&JsonText::of(&definition)).unwrap()
}

fn context(trigger: Value, data: Value, outputs: &[(&str, Value)]) -> Context {
    let view = |(id, output): &(&str, Value)| {
        let output = Some(Arc::new(output.clone()));
        (id.parse().unwrap(), StepView { status: StepStatus::Completed, output })
    };
    Context {
        trigger: Arc::new(trigger),
        data: Arc::new(data),
        steps: Arc::new(outputs.iter().map(view).collect()),
        run: RunView {
            id: "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d".parse().unwrap(),
            job: "templates".parse().unwrap(),
            revision: 3,
            created_at: "2026-01-31T09:00:00Z".parse().unwrap(),
        },
    }
}

/// What a template becomes as the input of a wasm step, after a step `first` with this output.
#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn resolved(input: Value, context: &Context) -> Result<Value, TemplateError> {
    let steps = json!([
        {"id": "first", "type": "wait", "duration_ms": 0},
        {"id": "second", "type": "wasm", "module": "any", "input": input},
    ]);
    match Templates::of(&job(&steps)).unwrap().work(1, context)? {
        Resolved::Work(Work::Wasm { input, .. }) => Ok(serde_json::from_str(input.as_str()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn work(step: Value, context: &Context) -> Result<Resolved, TemplateError> {
    let mut step = step;
    step["id"] = json!("second");
    let steps = json!([{"id": "first", "type": "wait", "duration_ms": 0}, step]);
    Templates::of(&job(&steps)).unwrap().work(1, context)
}

fn refused(expression: &str, context: &Context) -> String {
    let error = resolved(json!(expression), context).unwrap_err();
    assert_eq!(error.path, "/steps/1/input", "{expression}");
    error.message
}

#[test]
fn the_contracts_example_resolves() {
    let definition = definition::parse_yaml(definition::tests::EXAMPLE.as_bytes()).unwrap();
    let definition = definition::check(definition, &definition::tests::Operator).unwrap().definition;
    let templates = Templates::of(&definition).unwrap();
    let order = json!({"order": {"id": "o-1", "quantity": 3, "total": 120.5}, "total": 120.5});
    let context = context(order.clone(), order, &[("validate", json!({"sku": "a/b"}))]);
    let Resolved::Work(Work::Http { method, url, headers, body, success }) = templates.work(1, &context).unwrap()
    else {
        panic!("not a request");
    };
    assert_eq!((method.as_str(), url.as_str()), ("POST", "https://prices.example.com/v1/a/b"));
    assert_eq!(headers, [("authorization".to_owned(), "Bearer {{secret:prices}}".to_owned())]);
    assert_eq!(body, Some(HttpBody::Json(json!({"quantity": 3, "region": "eu"}))));
    assert_eq!(success.as_deref(), Some(&[200, 201][..]));
    let Resolved::Work(Work::Wasm { input, data, env, .. }) = templates.work(0, &context).unwrap() else {
        panic!("not a call");
    };
    assert_eq!(input, JsonText::of(&json!({"order": &*context.trigger, "region": "eu"})));
    assert_eq!(data, JsonText::of(&*context.data));
    assert_eq!(env, [("MODE".to_owned(), "strict".to_owned()), ("REGION".to_owned(), "eu".to_owned())]);
    assert!(templates.when(2, &context).unwrap() && templates.when(0, &context).unwrap());
    assert_eq!(templates.work(2, &context).unwrap(), Resolved::Wait(Duration::from_secs(1)));
    let Resolved::Work(Work::Database { params, mode, .. }) = templates.work(3, &context).unwrap() else {
        panic!("not a statement");
    };
    // The contract's names are there twice over: the order is in the data under `order`.
    assert_eq!((params, mode), (vec![json!("o-1"), json!(120.5)], DatabaseMode::Execute));
    let Resolved::Work(Work::Wasm { input, .. }) = templates.work(4, &context).unwrap() else { panic!("not a call") };
    assert_eq!(input, JsonText::of(&*context.data));
}

#[test]
fn expressions_of_every_sort_become_what_they_say() {
    let data =
        json!({"total": 120, "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 3}], "none": null, "big": u64::MAX});
    let context = context(json!([1, 2]), data, &[("first", json!({"a": {"b-c": 1}}))]);
    for (template, value) in [
        ("{{ data.total > 100 }}", json!(true)),
        (
            "{{ data.total }} and {{ data['none'] }}, {{ trigger }} {{ data.items[1] }}",
            json!(r#"120 and null, [1,2] {"n":3,"sku":"b"}"#),
        ),
        ("{{ data.items | map(attribute='sku') | join('+') }}", json!("a+b")),
        ("{{ data.items | map(attribute='n') | list }}", json!([2, 3])),
        ("{{ data.items | map(attribute='n') | sum }}", json!(5)),
        ("{{ data.items[-1].sku }}", json!("b")),
        ("{{ data.nothing | default('eu') }}", json!("eu")),
        ("{{ {'a': {'b': [1, 2.0, none, true]}} }}", json!({"a": {"b": [1, 2.0, null, true]}})),
        ("{{{'a': 1}}}", json!({"a": 1})),
        ("{{ '}}' }}", json!("}}")),
        ("{{ '{{' ~ '}}' }}", json!("{{}}")),
        ("{{ data.big }}", json!(u64::MAX)),
        ("{{ 'x' if data.total > 1000 else steps.first.output.a['b-c'] }}", json!(1)),
        ("{{ steps['first'].status }}", json!("completed")),
        (
            "{{ env.REGION }}/{{ run.id }}/{{ run.revision }}/{{ run.job }}/{{ run.created_at }}",
            json!("eu/019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d/3/templates/2026-01-31T09:00:00Z"),
        ),
        ("{{ data.items | tojson }}", json!(r#"[{"n": 2, "sku": "a"}, {"n": 3, "sku": "b"}]"#)),
        ("{{ 'total' in data and data.items | length == 2 }}", json!(true)),
        ("a { b } c } %}", json!("a { b } c } %}")),
        ("{{ range(3) }}", json!([0, 1, 2])),
    ] {
        assert_eq!(resolved(json!(template), &context), Ok(value), "{template}");
    }
}

#[test]
fn what_can_t_become_json_is_an_error_of_its_place() {
    let context = context(json!({}), json!({"text": "x", "list": [1]}), &[("first", Value::Null)]);
    for (template, word) in [
        ("{{ trigger.a }}", "isn't there"),
        ("{{ trigger.a.b | default(1) }}", "isn't there"),
        ("a {{ steps['fir' ~ 'x'].output }}", "isn't there"),
        ("{{ steps.first.output.sku }}", "isn't there"),
        ("{{ [trigger.a] }}", "isn't there"),
        ("{{ data.text + 1 }}", "invalid operation"),
        ("{{ 1 / 0 }}", "unable to calculate"),
        ("{{ {1: 2} }}", "no text"),
        ("{{ 10 ** 30 }}", ""),
        ("{{ range }}", "JSON"),
        ("{{ data.list.a.b }}", "isn't there"),
    ] {
        let message = refused(template, &context);
        assert!(message.contains(word), "{template}: {message}");
    }
    assert_eq!(resolved(json!("{{ steps.first.output.sku | default('none') }}"), &context), Ok(json!("none")));
}

#[test]
fn work_and_what_comes_of_it_are_bounded() {
    let large = "x".repeat(1 << 20);
    let deep = (0..126).fold(json!(1), |inner, _| json!([inner]));
    let context = context(json!({"large": large, "deep": deep}), json!({}), &[]);
    let started = std::time::Instant::now();
    for (template, word) in [
        ("{{ range(100000) | map('upper') | list | length }}".to_owned(), "too many steps"),
        ("{{ 'x' * 1000000000 }}".to_owned(), ""),
        ("{{ range(1000000000) | list }}".to_owned(), ""),
        ("{{ [[[trigger.deep]]] }}".to_owned(), "deep"),
        ("{{ trigger }}".repeat(17), "bytes"),
        (format!("{{{{ [{}] }}}}", vec!["trigger.large"; 17].join(", ")), "bytes"),
        (format!("{{{{ [{}] }}}}", vec!["trigger.large | upper"; 30].join(", ")), "too many steps"),
    ] {
        let message = refused(&template, &context);
        assert!(message.contains(word), "{template:.60}: {message}");
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(1000), ")".repeat(1000));
    assert!(Template::parse("", &nested).unwrap_err().message.contains("recursion"));
    assert_eq!(resolved(json!("{{ trigger }}"), &context).unwrap(), *context.trigger);
}

#[test]
fn a_large_text_is_copied_once_however_often_it_is_named() {
    let context = context(json!({"a": {"b": ["x".repeat(8 << 20)]}}), json!({}), &[]);
    let named = vec!["trigger.a.b[0] is string"; 1500].join(" and ");
    let started = std::time::Instant::now();
    assert_eq!(resolved(json!(format!("{{{{ {named} }}}}")), &context), Ok(json!(true)));
    // Copied each time it would be twelve gigabytes.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn secrets_stay_for_whoever_sends_and_none_is_made_from_data() {
    let step = |body: Value| {
        json!({"type": "http", "method": "post", "url": "https://example.com/", "body": body,
        "headers": {"a": "{{secret:x}}{{ data.ok }}"}})
    };
    let ok = context(
        json!({}),
        json!({"ok": "y", "bad": "{{secret:x}}", "half": "{", "rest": "{secret:x}}", "key": {"{{secret:x}}": 1}}),
        &[],
    );
    let resolved = work(step(json!(["{{secret:x}}", "a{{secret:y}}b {{ data.ok }}"])), &ok).unwrap();
    let Resolved::Work(Work::Http { method, headers, body, .. }) = resolved else { panic!("not a request") };
    assert_eq!((method.as_str(), headers), ("POST", vec![("a".to_owned(), "{{secret:x}}y".to_owned())]));
    assert_eq!(body, Some(HttpBody::Json(json!(["{{secret:x}}", "a{{secret:y}}b y"]))));
    for template in [
        "{{ data.bad }}",
        "x {{ data.bad }}",
        "{{ data.half }}{{ data.rest }}",
        "{{ data.key }}",
        "{{{ data.rest }}",
        "{{ data }}",
    ] {
        let Ok(parsed) = Template::parse("", template) else { continue };
        assert_eq!(parsed.secrets().count(), 0);
        let error = work(step(json!({"b": template})), &ok).unwrap_err();
        assert_eq!(error.path, "/steps/1/body/b", "{template}");
        assert!(error.message.contains("only the definition itself"), "{template}: {}", error.message);
    }
}

#[test]
fn a_body_is_json_unless_it_is_a_text() {
    let context = context(json!({"a": 1}), json!({}), &[]);
    let body = |body: Value| {
        let step = json!({"type": "http", "method": "POST", "url": "https://example.com/", "body": body});
        match work(step, &context).unwrap() {
            Resolved::Work(Work::Http { body, .. }) => body.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(body(json!("{{ trigger }}")), HttpBody::Json(json!({"a": 1})));
    assert_eq!(body(json!("is {{ trigger }}")), HttpBody::Text(r#"is {"a":1}"#.to_owned()));
    assert_eq!(body(json!({"b": "{{ trigger.a }}"})), HttpBody::Json(json!({"b": 1})));
    assert_eq!(body(json!(5)), HttpBody::Json(json!(5)));
}

#[test]
fn a_condition_is_true_or_false_and_nothing_else() {
    let context = context(json!({"n": 5, "yes": "true", "no": "false", "word": "maybe"}), json!({}), &[]);
    let when = |when: &str| {
        let steps = json!([{"id": "a", "type": "wait", "duration_ms": 0, "when": when}]);
        Templates::of(&job(&steps)).unwrap().when(0, &context).map_err(|error| (error.path, error.message))
    };
    for (text, met) in [
        ("{{ trigger.n > 4 }}", true),
        ("{{ trigger.n > 5 }}", false),
        ("{{ trigger.yes }}", true),
        ("{{ trigger.no }}", false),
        ("true", true),
        ("{{ trigger.n }}", false),
        ("{{ trigger.word }}", false),
        ("{{ none }}", false),
        ("{{ trigger.nothing }}", false),
    ] {
        let is_error = ["{{ trigger.n }}", "{{ trigger.word }}", "{{ none }}", "{{ trigger.nothing }}"].contains(&text);
        match when(text) {
            Ok(is) => assert!(!is_error && is == met, "{text}"),
            Err((path, message)) => assert!(is_error && path == "/steps/0/when", "{text}: {message}"),
        }
    }
}

#[test]
fn a_wait_is_so_long_or_until_a_time() {
    let context =
        context(json!({"ms": 1500, "text": "20", "at": "2026-02-01T00:00:00+01:00", "bad": -1}), json!({}), &[]);
    let wait = |wait: Value| {
        let mut step = wait;
        step["type"] = json!("wait");
        work(step, &context).map_err(|error| error.path)
    };
    assert_eq!(wait(json!({"duration_ms": "{{ trigger.ms }}"})), Ok(Resolved::Wait(Duration::from_millis(1500))));
    assert_eq!(wait(json!({"duration_ms": "{{ trigger.text }}0"})), Ok(Resolved::Wait(Duration::from_millis(200))));
    assert_eq!(
        wait(json!({"until": "{{ trigger.at }}"})),
        Ok(Resolved::WaitUntil(Timestamp::from_str("2026-01-31T23:00:00Z").unwrap()))
    );
    assert_eq!(wait(json!({"duration_ms": "{{ trigger.bad }}"})), Err("/steps/1/duration_ms".to_owned()));
    assert_eq!(wait(json!({"duration_ms": "{{ trigger.ms * 1000000000 }}"})), Err("/steps/1/duration_ms".to_owned()));
    assert_eq!(wait(json!({"until": "{{ trigger.ms }}"})), Err("/steps/1/until".to_owned()));
}

#[test]
fn every_filter_that_is_told_of_is_there() {
    for filter in text::FILTERS {
        let known = resolved(json!(format!("{{{{ '{filter}' is filter }}}}")), &context(json!({}), json!({}), &[]));
        assert_eq!(known, Ok(json!(true)), "{filter}");
    }
    for filter in ["safe", "escape", "e", "pprint", "urlencode"] {
        assert!(Template::parse("", &format!("{{{{ 1 | {filter} }}}}")).is_err(), "{filter}");
    }
}

proptest! {
    #[test]
    fn p37_context_propagation_templates_see_each_earlier_output_and_no_other(
        outputs in prop::collection::vec(any_json(), 1..6),
        trigger in any_json(),
    ) {
        let count = outputs.len();
        let named: Vec<_> = outputs.iter().enumerate().map(|(at, output)| (format!("s{at}"), output.clone())).collect();
        let mut steps: Vec<_> = (0..count).map(|at| json!({"id": format!("s{at}"), "type": "wait", "duration_ms": 0})).collect();
        let all: serde_json::Map<_, _> =
            (0..count).map(|at| (format!("s{at}"), json!(format!("{{{{ steps.s{at}.output }}}}")))).collect();
        steps.push(json!({"id": "last", "type": "wasm", "module": "any",
            "input": {"all": all, "trigger": "{{ trigger }}", "statuses": "{{ steps.s0.status }}"}}));
        let templates = Templates::of(&job(&json!(steps))).unwrap();
        let borrowed: Vec<_> = named.iter().map(|(id, output)| (id.as_str(), output.clone())).collect();
        let full = context(trigger.clone(), json!({}), &borrowed);
        let Resolved::Work(Work::Wasm { input, .. }) = templates.work(count, &full).unwrap() else { panic!("not a call") };
        let expected: serde_json::Map<_, _> = named.iter().cloned().collect();
        let read: Value = serde_json::from_str(input.as_str()).unwrap();
        prop_assert_eq!(read, json!({"all": expected, "trigger": trigger, "statuses": "completed"}));
        // One output fewer, and it is an error of the place that names it.
        let fewer = context(trigger, json!({}), &borrowed[..count - 1]);
        let error = templates.work(count, &fewer).unwrap_err();
        prop_assert_eq!(error.path, format!("/steps/{count}/input/all/s{}", count - 1));
    }

    #[test]
    fn p38_transformed_data_availability_data_is_there_as_the_steps_left_it(
        before in any_json(),
        after in prop::collection::btree_map("[a-z]{1,6}", any_json(), 1..6),
    ) {
        let data: Value = after.clone().into_iter().collect();
        let context = context(before.clone(), data.clone(), &[]);
        prop_assert_eq!(resolved(json!("{{ data }}"), &context).unwrap(), data.clone());
        prop_assert_eq!(resolved(json!("{{ trigger }}"), &context).unwrap(), before);
        for (name, value) in &after {
            prop_assert_eq!(&resolved(json!(format!("{{{{ data['{name}'] }}}}")), &context).unwrap(), value);
            let text = resolved(json!(format!("is {{{{ data['{name}'] }}}}")), &context).unwrap();
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            prop_assert_eq!(text, json!(format!("is {shown}")));
        }
        let step = json!({"type": "wasm", "module": "any"});
        let Resolved::Work(Work::Wasm { input, data: handed, .. }) = work(step, &context).unwrap() else { panic!("not a call") };
        prop_assert_eq!((&input, &handed), (&JsonText::of(&data), &JsonText::of(&data)));
    }

    #[test]
    fn p49_variable_resolution_keeps_every_json_value_as_it_is(
        value in any_json(),
        plain in "[a-z {}]{0,8}",
        name in "[a-z]{3,9}",
    ) {
        prop_assume!(!["{{", "{%", "{#", "}}"].iter().any(|open| format!("{plain}{{").contains(open)));
        let context = context(value.clone(), json!({"in": [{"a": value.clone()}]}), &[("first", value.clone())]);
        for template in ["{{ trigger }}", "{{trigger}}", "{{ data['in'][0].a }}", "{{ steps.first.output }}", "{{ [trigger][0] }}"] {
            prop_assert_eq!(resolved(json!(template), &context), Ok(value.clone()), "{}", template);
        }
        prop_assert_eq!(
            resolved(json!({"a": ["{{ trigger }}", plain.clone()]}), &context),
            Ok(json!({"a": [value.clone(), plain.clone()]}))
        );
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        prop_assert_eq!(
            resolved(json!(format!("{plain} {{{{ trigger }}}} {plain}")), &context),
            Ok(json!(format!("{plain} {shown} {plain}")))
        );
        // Through minijinja's own values, and not only past it.
        prop_assert_eq!(resolved(json!("{{ {'a': trigger} }}"), &context), Ok(json!({"a": value})));
        let known = ["trigger", "data", "steps", "run", "env", "range", "dict", "true", "false", "none", "not", "and", "else", "for", "in", "is", "if", "or"];
        if !known.contains(&name.as_str()) {
// Unknown names are refused when a job is saved, and would be an error of a run.
            let text = format!("{{{{ {name} }}}}");
            let steps = json!([{"id": "a", "type": "wasm", "module": "any", "input": text}]);
            let errors = definition::stored(&JsonText::of(&json!({"name": "a", "steps": steps}))).unwrap_err();
            prop_assert_eq!((errors[0].path.as_str(), errors[0].code.as_str()), ("/steps/0/input", "unknown-name"));
            let names = values::root(&context, &values::env(&BTreeMap::new()));
            let error = template("/x", &text).unwrap().value(&names, &mut Room::new()).unwrap_err();
            prop_assert!(error.message.contains("isn't there"), "{}", error.message);
        }
    }

    #[test]
    fn p_any_text_is_read_as_a_template_without_a_panic(text in "[a-z{}%#'\"|.\\[\\]() ä\\\\0-9-]{0,40}") {
        let _ = Template::parse("", &text).map(|template| (template.references(), template.secrets().count()));
    }
}
