//! Cases that are too large for files: a megabyte of input, of a host's answer, or of output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice::author::cases::Case;

use super::Cases;

const MEGABYTE: usize = 1_000_000;

/// What fits into an output with room for what stands around it: an output may have a megabyte by default.
const OUTPUT_BYTES: usize = 900_000;

fn named(name: &str, case: &Value) -> (String, Case) {
    (name.to_owned(), case.to_string().parse().unwrap_or_else(|error| panic!("{name}: {error:?}")))
}

/// So many bytes, of one to four a character.
fn unicode(bytes: usize) -> String {
    "zü東😀".repeat(bytes / 10)
}

// ---- The order step ----

/// An order of 2500, with another value at some places.
fn order_with(members: &[(&str, Value)]) -> Value {
    let mut order = json!({
        "id": "A-17",
        "customer": "ada@example.com",
        "country": "DE",
        "items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}],
    });
    for (name, value) in members {
        order[*name] = value.clone();
    }
    order
}

fn accepted(total_cents: u64, item_count: u64) -> Value {
    json!({
        "status": "completed",
        "output": {
            "order_id": "A-17",
            "total_cents": total_cents,
            "item_count": item_count,
            "tier": if total_cents < 10_000 { "small" } else { "standard" },
            "region": "eu",
        },
        "next": null,
        "data": {"last_order": {"id": "A-17", "total_cents": total_cents}},
        "logs": [{
            "level": "info",
            "message": "order accepted",
            "fields": {"order_id": "A-17", "total_cents": total_cents},
        }],
    })
}

fn refused(errors: &Value) -> Value {
    let findings = errors.as_array().unwrap().len();
    let line = json!({"level": "warn", "message": "order refused", "fields": {"findings": findings}});
    json!({"status": "invalid", "errors": errors, "logs": [line]})
}

fn order_case(name: &str, order: &Value, expect: &Value) -> (String, Case) {
    named(name, &json!({"input": {"order": order}, "expect": expect}))
}

pub(super) fn order() -> Cases {
    let mut cases = unknown_members();
    cases.extend(large_texts());
    cases.extend(thousands_of_items());
    cases.extend(large_answers());
    cases
}

fn unknown_members() -> Cases {
    let escapes = "\"\\\u{1}\n/ü😀".repeat(MEGABYTE / 12);
    let records: Vec<_> = (0..20_000).map(|n| json!({"n": n, "ü": [null, true, -0.5, "\\\""], "o": {}})).collect();
    let long_name = json!({ unicode(MEGABYTE): 1 });
    let members: serde_json::Map<_, _> = (0..50_000).map(|n| (format!("member {n}"), json!(n))).collect();
    let mut cases: Cases = [
        ("a text of a megabyte in another script", json!(unicode(MEGABYTE))),
        ("a text of a megabyte with escapes", json!(escapes)),
        ("a megabyte of records", json!(records)),
        ("a name of a megabyte", long_name),
        ("fifty thousand members", Value::Object(members)),
        ("a hundred thousand lists", json!(vec![json!([]); 100_000])),
    ]
    .into_iter()
    .map(|(name, value)| order_case(&format!("{name} is skipped"), &order_with(&[("note", value)]), &accepted(2500, 2)))
    .collect();
    // Text between the values is none that `json!` writes.
    let order = order_with(&[]).to_string().replacen(':', &format!(":{}", " \n\t\r".repeat(MEGABYTE / 4)), 1);
    let spaced = format!(r#"{{"input": {{"order": {order}}}, "expect": {}}}"#, accepted(2500, 2));
    cases.push(("a megabyte of space is skipped".to_owned(), spaced.parse().unwrap()));
    let digits = format!("0.{}1", "0".repeat(MEGABYTE));
    let expect = refused(&json!([wrong_type("/order/items/0/quantity")]));
    let order = order_with(&[]).to_string().replace("\"quantity\":2", &format!("\"quantity\":{digits}"));
    let precise = format!(r#"{{"input": {{"order": {order}}}, "expect": {expect}}}"#);
    cases.push(("a fraction of a million digits is no integer".to_owned(), precise.parse().unwrap()));
    cases
}

fn wrong_type(path: &str) -> Value {
    json!({"path": path, "code": "malformed", "message": "the value has the wrong type"})
}

fn large_texts() -> Cases {
    let text = unicode(MEGABYTE);
    let malformed = |path: &str| json!([{"path": path, "code": "malformed", "message": "the text is not in the form that is wanted here"}]);
    let too_long = |path: &str| json!([{"path": path, "code": "out-of-range", "message": "at most 64 bytes"}]);
    let item = json!([{"sku": text, "quantity": 2, "price_cents": 1250}]);
    let mut cases: Cases = [
        ("an id", "id", json!(text), too_long("/order/id")),
        ("an address", "customer", json!(format!("{text}@example.com")), malformed("/order/customer")),
        ("a country", "country", json!(text), malformed("/order/country")),
        ("a coupon", "coupon", json!(text), malformed("/order/coupon")),
        ("a sku", "items", item, too_long("/order/items/0/sku")),
    ]
    .into_iter()
    .map(|(what, member, value, errors)| {
        let name = format!("{what} of a megabyte in another script is refused");
        order_case(&name, &order_with(&[(member, value)]), &refused(&errors))
    })
    .collect();
    let input = json!({"input": text, "expect": refused(&json!([wrong_type("")]))});
    cases.push(named("a text of a megabyte is no input", &input));
    let region = unicode(OUTPUT_BYTES);
    let mut expect = accepted(2500, 2);
    expect["output"]["region"] = json!(region);
    expect["data"]["region"] = json!(region);
    let case = json!({"input": {"order": order_with(&[])}, "data": {"region": region}, "expect": expect});
    cases.push(named("a region of almost a megabyte stays as it is", &case));
    cases
}

fn thousands_of_items() -> Cases {
    let items: Vec<_> =
        (0..20_000).map(|n| json!({"sku": format!("ü-{n}"), "quantity": 1, "price_cents": n % 5})).collect();
    let wrong: Vec<_> = (0..20_000).map(|n| json!({"sku": "pen", "quantity": n - 20_000, "price_cents": 1})).collect();
    let out_of_range = |n: usize| {
        let message = "the number is too small or too large";
        json!({"path": format!("/order/items/{n}/quantity"), "code": "out-of-range", "message": message})
    };
    let told: Vec<_> = (0..100).map(out_of_range).collect();
    let one_wrong: Vec<_> =
        (0..20_000).map(|n| json!({"sku": "pen", "quantity": 19_999 - n, "price_cents": 0})).collect();
    // Those above the largest quantity, until there is no room for more, which the last would need.
    vec![
        order_case(
            "twenty thousand items are summed",
            &order_with(&[("items", json!(items))]),
            &accepted(40_000, 20_000),
        ),
        order_case(
            "of twenty thousand mistakes a hundred are told",
            &order_with(&[("items", json!(wrong))]),
            &refused(&json!(told)),
        ),
        order_case(
            "of items with too much and too little the first are told",
            &order_with(&[("items", json!(one_wrong))]),
            &refused(&json!(told)),
        ),
    ]
}

/// An order with a coupon that is good for five of a hundred, with these answers.
fn with_coupon(name: &str, body: &Value, rows: &Value, expect: &Value) -> (String, Case) {
    let request = json!({"method": "GET", "url": "https://coupons.example.com/v1/coupons/SPRING-26", "body": null});
    let insert = "insert into redemptions (order_id, coupon, redeemed_by) values ($1, $2, $3)";
    let count = "select count(*) as times from redemptions where coupon = $1";
    let mut db = vec![
        json!({"connection": "shop", "sql": insert, "changed": 1}),
        json!({"connection": "shop", "sql": count, "params": ["SPRING-26"], "rows": rows}),
    ];
    if rows.is_null() {
        db.clear();
    }
    let case = json!({
        "input": {"order": order_with(&[("coupon", json!("SPRING-26"))])},
        "http": [{"request": request, "response": {"status": 200, "body": body}}],
        "db": db,
        "expect": expect,
    });
    named(name, &case)
}

fn large_answers() -> Cases {
    let mut expect = accepted(2375, 2);
    expect["output"]["discount_percent"] = json!(5);
    expect["output"]["coupon_used"] = json!(3);
    let terms = json!({"percent": 5, "terms": unicode(2 * MEGABYTE), "stores": vec![json!({"ü": [1]}); 20_000]});
    let rows: Vec<_> = (3..20_003).map(|times| json!({"times": times, "note": "東京"})).collect();
    let failed = json!({"status": "failed", "failure": {"code": "http-body", "retryable": false}, "logs": []});
    vec![
        with_coupon("an answer of megabytes is read", &terms, &json!([{"times": 3}]), &expect),
        with_coupon("of twenty thousand rows the first is read", &json!({"percent": 5}), &json!(rows), &expect),
        with_coupon(
            "an answer of a megabyte that is no JSON is a failure",
            &json!(unicode(MEGABYTE)),
            &Value::Null,
            &failed,
        ),
    ]
}

// ---- The mirror ----

fn mirror_case(name: &str, calls: &Value, output: &Value) -> (String, Case) {
    let expect = json!({"status": "completed", "output": output, "next": null, "logs": []});
    named(name, &json!({"input": {"calls": calls}, "expect": expect}))
}

pub(super) fn mirror() -> Cases {
    let mut cases = large_values();
    cases.extend(large_exchanges());
    cases.extend(large_statements());
    cases.extend(large_endings());
    cases.push(a_large_log());
    cases.push(too_many_calls());
    cases
}

fn large_values() -> Cases {
    let members: serde_json::Map<_, _> = (0..20_000).map(|n| (format!("member {n} ü"), json!(n))).collect();
    let escapes = "\"\\\n".repeat(OUTPUT_BYTES / 6);
    let mut cases: Cases = [
        ("a text of almost a megabyte in another script", json!(unicode(OUTPUT_BYTES))),
        ("a text of almost a megabyte with escapes", json!(escapes)),
        ("a hundred thousand numbers", json!((0..100_000_i64).map(|n| n - 50_000).collect::<Vec<_>>())),
        ("a hundred thousand lists", json!(vec![json!([[], []]); 100_000])),
        ("twenty thousand members", Value::Object(members)),
        ("a name of almost a megabyte", json!({ unicode(OUTPUT_BYTES): null })),
    ]
    .into_iter()
    .flat_map(|(what, value)| {
        let kept = json!([{"set": {"key": "large", "value": value}}, {"get": "large"}]);
        [
            mirror_case(&format!("{what} come back"), &json!([{ "echo": value }]), &json!([value])),
            mirror_case(&format!("{what} are set and found"), &kept, &json!([null, { "value": value }])),
        ]
    })
    .collect();
    let key = unicode(MEGABYTE / 3);
    let calls = json!([{"set": {"key": key, "value": 1}}, {"get": key}, {"get": format!("{key}!")}]);
    cases.push(mirror_case("a key is large", &calls, &json!([null, {"value": 1}, {}])));
    let texts: Vec<_> = (0..4).map(|n| json!({"set": {"key": format!("k{n}"), "value": unicode(MEGABYTE)}})).collect();
    cases.push(mirror_case("megabytes of data are set", &json!(texts), &json!([null, null, null, null])));
    cases
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect()
}

/// What a request may have; an answer to a case is not measured.
const HEADERS_MAX: usize = 100;
const HEADERS_BYTES_MAX: usize = 32 * 1024;

fn large_exchanges() -> Cases {
    let url = "https://api.example.com/v1/things";
    let exchange = |request: Value, response: Value| json!([{"request": request, "response": response}]);
    let upload = bytes(MEGABYTE);
    // Two digits a byte.
    let download = bytes(OUTPUT_BYTES / 2);
    let headers: Vec<_> = (0..1000).map(|n| json!([format!("x-{n}"), format!("ü{n}")])).collect();
    let few = &headers[..HEADERS_MAX / 2];
    let long = json!([["x-long", unicode(300_000)]]);
    let less = json!([["x-long", unicode(HEADERS_BYTES_MAX / 2)]]);
    let case = |name: &str, (sent, request): (Value, Value), (response, told): (Value, Value)| {
        let expect = json!({"status": "completed", "output": [told], "logs": []});
        let case =
            json!({"input": {"calls": [{ "send": sent }]}, "http": exchange(request, response), "expect": expect});
        named(name, &case)
    };
    let sent = |headers: &Value| json!({"method": "GET", "url": url, "headers": headers});
    let answer = |headers: &Value| json!({"status": 200, "headers": headers});
    let told = |headers: &Value| json!({"status": 200, "headers": headers, "body": ""});
    vec![
        case(
            "a body of a megabyte is sent",
            (
                json!({"method": "PUT", "url": url, "body": hexadecimal(&upload)}),
                json!({"method": "PUT", "url": url, "body_base64": STANDARD.encode(&upload)}),
            ),
            (json!({"status": 200}), told(&json!([]))),
        ),
        case(
            "a body of almost half a megabyte is received",
            (sent(&json!([])), sent(&json!([]))),
            (
                json!({"status": 200, "body_base64": STANDARD.encode(&download)}),
                json!({"status": 200, "headers": [], "body": hexadecimal(&download)}),
            ),
        ),
        case(
            "many headers go out and a thousand come in",
            (sent(&json!(few)), sent(&json!(few))),
            (answer(&json!(headers)), told(&json!(headers))),
        ),
        case("a long header goes both ways", (sent(&less), sent(&less)), (answer(&long), told(&long))),
    ]
}

fn large_statements() -> Cases {
    let params: Vec<_> = (0..20_000).map(|n| json!([n, "東京", {"n": null}])).collect();
    let rows: Vec<_> = (0..20_000).map(|n| json!({"n": n, "名前": "東京😀"})).collect();
    let sql = format!("select '{}'", unicode(MEGABYTE));
    let case = |name: &str, params: &Value, rows: &Value| {
        let answer = json!({"connection": "shop", "sql": sql, "params": params, "rows": rows});
        let calls = json!([{"query": {"connection": "shop", "sql": sql, "params": params}}]);
        let expect = json!({"status": "completed", "output": [{"rows": rows}], "logs": []});
        named(name, &json!({"input": {"calls": calls}, "db": [answer], "expect": expect}))
    };
    vec![
        case("a statement and its parameters are large", &json!(params), &json!([])),
        case("a parameter is a text of a megabyte", &json!([unicode(MEGABYTE)]), &json!([])),
        case("twenty thousand rows come back", &json!([]), &json!(rows)),
    ]
}

fn large_endings() -> Cases {
    let ending =
        |name: &str, end: &Value, expect: &Value| named(name, &json!({"input": {"end": end}, "expect": expect}));
    let text = unicode(OUTPUT_BYTES);
    let errors: Vec<_> = (0..5000)
        .map(|n| json!({"path": format!("/items/{n}"), "code": "out-of-range", "message": "東京😀"}))
        .collect();
    let next: Vec<_> = (0..10_000).map(|n| format!("step-{n}-ü")).collect();
    let failure = json!({
        "code": unicode(1000), "message": unicode(OUTPUT_BYTES / 2), "retryable": true, "retry_after_ms": 1,
        "details": {"text": unicode(OUTPUT_BYTES / 3)},
    });
    vec![
        ending(
            "an output is large",
            &json!({"completed": {"output": text}}),
            &json!({"status": "completed", "output": text}),
        ),
        ending(
            "the next are ten thousand",
            &json!({"completed": {"output": null, "next": next}}),
            &json!({"status": "completed", "output": null, "next": next}),
        ),
        ending(
            "five thousand values are wrong",
            &json!({ "invalid": errors }),
            &json!({"status": "invalid", "errors": errors}),
        ),
        ending(
            "one error is large",
            &json!({"invalid": [{"path": text, "code": "", "message": ""}]}),
            &json!({"status": "invalid", "errors": [{"path": text, "code": "", "message": ""}]}),
        ),
        ending("a failure is large", &json!({ "failed": failure }), &json!({"status": "failed", "failure": failure})),
    ]
}

/// Almost all of what a log may hold by default.
fn a_large_log() -> (String, Case) {
    let fields: serde_json::Map<_, _> = (0..1000).map(|n| (format!("field {n}"), json!({"ü": [n]}))).collect();
    let lines = [
        json!({"level": "info", "message": unicode(100_000), "fields": {"text": unicode(50_000)}}),
        json!({"level": "warn", "message": "many", "fields": fields}),
    ];
    let calls: Vec<_> = lines.iter().map(|line| json!({ "log": line })).collect();
    let expect = json!({"status": "completed", "output": [null, null], "logs": lines});
    named("a log is large", &json!({"input": {"calls": calls}, "expect": expect}))
}

/// What a step may call by default.
const HOST_CALLS_MAX: usize = 10_000;

fn too_many_calls() -> (String, Case) {
    let calls = vec![json!({"try": {"get": "a"}}); HOST_CALLS_MAX + 1];
    let mut told = vec![json!({}); HOST_CALLS_MAX];
    let message = format!("an execution may make {HOST_CALLS_MAX} host calls");
    told.push(json!({"error": {"code": "limit-exceeded", "message": message}}));
    mirror_case("a call that is one too many is refused", &json!(calls), &json!(told))
}
