//! Values both ways.

use super::*;

#[tokio::test]
async fn every_type_has_its_form_in_json() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('ok', 'so \"so\"'); CREATE DOMAIN small AS int CHECK (value < 10);
             CREATE DOMAIN smalls AS small[]; CREATE TYPE pair AS (a int, b text)",
        )
        .await
        .unwrap();
    let pool = pool(&database.url());
    for (sql, wanted) in forms() {
        assert_eq!(value(&pool, &format!("select {sql}"), NONE).await, wanted, "{sql}");
    }
}

/// An expression, and its value in JSON.
fn forms() -> Vec<(&'static str, Value)> {
    vec![
        ("true", json!(true)),
        ("1::int2", json!(1)),
        ("(-2147483648)::int4", json!(-2_147_483_648_i64)),
        ("9007199254740992", json!(9_007_199_254_740_992_i64)),
        ("9007199254740993", json!("9007199254740993")),
        ("(-9223372036854775808)::int8", json!("-9223372036854775808")),
        ("'1 '::\"char\"", json!("1")),
        ("4294967295::oid", json!(4_294_967_295_u32)),
        ("0.1::float4", json!(0.1)),
        ("1e300::float8", json!(1e300)),
        ("'NaN'::float8", json!("NaN")),
        ("'-Infinity'::float4", json!("-Infinity")),
        ("1.50", json!("1.50")),
        ("0::numeric", json!("0")),
        ("-0.000012345678", json!("-0.000012345678")),
        ("12345678901234567890.00010", json!("12345678901234567890.00010")),
        ("1e20::numeric", json!("100000000000000000000")),
        ("'NaN'::numeric", json!("NaN")),
        ("'-Infinity'::numeric", json!("-Infinity")),
        ("'é\"\\'::text", json!("é\"\\")),
        ("'a'::char(3)", json!("a  ")),
        ("'a'::name", json!("a")),
        ("'a'", json!("a")),
        ("'\\x00ff'::bytea", json!("AP8=")),
        ("date '2026-01-02'", json!("2026-01-02")),
        ("date '0044-03-15 BC'", json!("0044-03-15 BC")),
        ("date 'infinity'", json!("infinity")),
        ("time '24:00'", json!("24:00:00")),
        ("timetz '03:04:05.000006+05:30'", json!("03:04:05.000006+05:30")),
        ("timestamp '2026-01-02 03:04:05.123456'", json!("2026-01-02T03:04:05.123456")),
        ("timestamptz '2026-01-02 03:04:05+02'", json!("2026-01-02T01:04:05Z")),
        ("timestamptz '-infinity'", json!("-infinity")),
        ("interval '1 year 2 months -3 days 04:05:06.7'", json!("P1Y2M-3DT4H5M6.700000S")),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("'{\"a\": [1, 2.50]}'::json", json!({"a": [1, 2.50]})),
        ("'[null]'::jsonb", json!([null])),
        ("null::int", json!(null)),
        ("null::inet", json!(null)),
        ("pg_sleep(0)", json!(null)),
        ("'so \"so\"'::mood", json!("so \"so\"")),
        ("7::small", json!(7)),
        ("'{1,2}'::smalls", json!([1, 2])),
        ("'{}'::int[]", json!([])),
        ("'{{1,null},{3,4}}'::int8[]", json!([[1, null], [3, 4]])),
        ("'[0:1]={a,b}'::text[]", json!(["a", "b"])),
        ("array['ok'::mood]", json!(["ok"])),
        ("array['1.10'::numeric]", json!(["1.10"])),
        ("(1, 'a b')::pair", json!("(1,\"a b\")")),
        ("row(1, 2)", json!("(1,2)")),
        ("array[(1, 'a')::pair]", json!(["(1,a)"])),
        ("int4range(1, 3)", json!("[1,3)")),
        ("'{[1,3)}'::int4multirange", json!("{[1,3)}")),
        ("'10.0.0.1/8'::inet", json!("10.0.0.1/8")),
        ("'{10.0.0.1/8}'::inet[]", json!(["10.0.0.1/8"])),
        ("'$1.50'::money", json!("$1.50")),
        ("'101'::bit(3)", json!("101")),
        ("'<a/>'::xml", json!("<a/>")),
        ("point(1, 2)", json!("(1,2)")),
        ("'a:1'::tsvector", json!("'a':1")),
        ("'1 2'::int2vector", json!([1, 2])),
        ("'pg_class'::regclass", json!("pg_class")),
        ("'0/16B3748'::pg_lsn", json!("0/16B3748")),
        ("'$.a'::jsonpath", json!("$.\"a\"")),
    ]
}

#[tokio::test]
async fn a_type_of_an_extension_is_text_among_columns_that_keep_their_own() {
    let database = database();
    let client = database.connect().await.unwrap();
    // As an extension makes one: a base type of which the driver knows nothing.
    client
        .batch_execute(
            "CREATE TYPE shade; CREATE FUNCTION shade_in(cstring) RETURNS shade IMMUTABLE STRICT LANGUAGE internal AS 'textin';
             CREATE FUNCTION shade_out(shade) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'textout';
             CREATE TYPE shade (INPUT = shade_in, OUTPUT = shade_out)",
        )
        .await
        .unwrap();
    let pool = pool(&database.url());
    let sql =
        "select n as a, ('s' || n)::shade as \"the \"\"shade\", 'x'::inet[] is null as a2, array['a'::shade] as many
               from generate_series(1, 3) n order by n desc -- the last
               ;";
    let said = told(query(&pool, sql, NONE).await);
    assert!(said.contains("22P02"), "{said}");
    let sql = sql.replace("'x'::inet[]", "'{}'::inet[]");
    let rows = query(&pool, &sql, NONE).await.unwrap();
    assert_eq!(rows[0], json!({"a": 3, "the \"shade": "s3", "a2": false, "many": ["a"]}));
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(value(&pool, "select $1::shade", &json!(["dark"])).await, json!("dark"));
    assert!(told(query(&pool, "select 1 as a, 2 as a", NONE).await).contains("two columns"));
    assert_eq!(query(&pool, "select", NONE).await.unwrap(), json!([{}]));
    assert_eq!(query(&pool, "select 1 where false", NONE).await.unwrap(), json!([]));
    assert_eq!(value(&pool, "show TimeZone", NONE).await, json!("UTC"));
    assert!(value(&pool, "explain select 1", NONE).await.as_str().unwrap().contains("Result"));
}

#[tokio::test]
async fn parameters_are_taken_as_the_types_that_the_statement_gives_them() {
    let database = database();
    database.connect().await.unwrap().batch_execute("CREATE TYPE mood AS ENUM ('ok')").await.unwrap();
    let pool = pool(&database.url());
    for (ty, given, back) in [
        ("int2", json!(-3), json!(-3)),
        ("int8", json!("9223372036854775807"), json!("9223372036854775807")),
        ("numeric", json!("12345678901234567890.10"), json!("12345678901234567890.10")),
        ("numeric", json!(1.5), json!("1.5")),
        ("numeric", json!("NaN"), json!("NaN")),
        ("float4", json!(0.1), json!(0.1)),
        ("float8", json!("-Infinity"), json!("-Infinity")),
        ("float8", json!(1e300), json!(1e300)),
        ("bool", json!(false), json!(false)),
        ("text", json!("'; drop table t; --"), json!("'; drop table t; --")),
        ("varchar(3)", json!("é"), json!("é")),
        ("bytea", json!("AP8="), json!("AP8=")),
        ("jsonb", json!({"a": [1, null]}), json!({"a": [1, null]})),
        ("jsonb", json!("text"), json!("text")),
        ("json", json!(5), json!(5)),
        ("uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("date", json!("2026-01-02"), json!("2026-01-02")),
        ("timestamptz", json!("2026-01-02T03:04:05+01:00"), json!("2026-01-02T02:04:05Z")),
        ("timestamptz", json!("2026-01-02T03:04:05"), json!("2026-01-02T03:04:05Z")),
        ("timestamp", json!("2026-01-02T03:04:05.5"), json!("2026-01-02T03:04:05.500000")),
        ("interval", json!("P1DT2H"), json!("P1DT2H")),
        ("inet", json!("10.0.0.1/8"), json!("10.0.0.1/8")),
        ("mood", json!("ok"), json!("ok")),
        ("int4range", json!("[1,3)"), json!("[1,3)")),
        ("int4[]", json!([[1, null], [3, 4]]), json!([[1, null], [3, 4]])),
        ("text[]", json!(["a,\"b\\", "", "null"]), json!(["a,\"b\\", "", "null"])),
        ("jsonb[]", json!([[1], {"a": 1}, 2, true, "x"]), json!([[1], {"a": 1}, 2, true, "x"])),
        ("bool[]", json!([true, null, false]), json!([true, null, false])),
        ("numeric[]", json!([1.5, "NaN", "0.10"]), json!(["1.5", "NaN", "0.10"])),
        ("float8[]", json!([-1.5, "Infinity"]), json!([-1.5, "Infinity"])),
        ("mood[]", json!(["ok", null]), json!(["ok", null])),
        ("inet", json!(null), json!(null)),
    ] {
        assert_eq!(value(&pool, &format!("select $1::{ty}"), &json!([given])).await, back, "{ty} {given}");
    }
}

#[tokio::test]
async fn parameters_that_are_wrong_are_refused_by_their_number() {
    let database = database();
    let pool = pool(&database.url());
    for (sql, params, wanted) in [
        ("select $1::int", json!([]), "has 1 parameters, and 0 are given"),
        ("select $1::int", json!([1, 2]), "has 1 parameters, and 2 are given"),
        (
            "select $1::int as a, $2::int as b",
            json!([1, "x"]),
            "$2 is a string; an integer of 32 bits is wanted (int4)",
        ),
        ("select $1::int2", json!([40_000]), "16 bits"),
        ("select $1::date", json!(["no day"]), "$1: invalid input syntax for type date"),
        ("select $1::float4", json!([1e300]), "$1: \"1e+300\" is out of range"),
        ("select $2::uuid, $1::int", json!([1, "x"]), "$2: invalid input syntax for type uuid"),
        ("select $1::int[]", json!([[[1], [2, 3]]]), "$1: malformed array"),
        ("select $1::text", json!(["\0"]), "U+0000"),
        ("select $1::jsonb", json!(["\0"]), "$1"),
    ] {
        let refused = query(&pool, sql, &params).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{sql}: {refused:?}");
        let said = told(refused);
        assert!(said.contains(wanted), "{sql}: {said}");
    }
}

#[test]
fn what_is_stored_comes_back_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = database();
    let pool = pool(&database.url());
    runtime
        .block_on(execute(
            &pool,
            "create table t (n int8, d numeric, f float8, s text, b bytea, j jsonb, a text[], at timestamptz)",
            NONE,
        ))
        .unwrap();
    let text = "[^\u{0}]{0,12}";
    let row = (
        any::<i64>(),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?".prop_filter("there is no -0", |text| !text.starts_with("-0")),
        any::<f64>().prop_filter("JSON has no other", |f| f.is_finite()),
        text,
        proptest::collection::vec(any::<u8>(), 0..20),
        proptest::collection::vec(proptest::option::of(text), 0..4),
        -60_000_000_000_i64..250_000_000_000,
    );
    proptest!(ProptestConfig::with_cases(200), |((n, d, f, s, b, a, at) in row)| {
        use base64::Engine as _;
        let n = if n.unsigned_abs() > 1 << 53 { json!(n.to_string()) } else { json!(n) };
        // A number is read here as exactly as it is written, which serde_json doesn't do.
        let exact = |answer: &str| answer["[{\"f\":".len()..answer.len() - 2].parse::<f64>().unwrap();
        let b = base64::engine::general_purpose::STANDARD.encode(b);
        let at = jiff::Timestamp::from_second(at).unwrap().to_string();
        let j = json!({"s": s, "a": a});
        let given = json!([n, d, f, s, b, j, a, at]);
        let back = runtime.block_on(async {
            execute(&pool, "delete from t", NONE).await.unwrap();
            execute(&pool, "insert into t values ($1, $2, $3, $4, $5, $6, $7, $8)", &given).await.unwrap();
            let f = pool.query(Statement { sql: "select f from t", params: "[]" }, BOUNDS, &mut Caller::new()).await.unwrap();
            (query(&pool, "select n, d, s, b, j, a, at from t", NONE).await.unwrap(), exact(&f))
        });
        prop_assert_eq!(back.1.to_bits(), f.to_bits());
        prop_assert_eq!(back.0, json!([{"n": n, "d": d, "s": s, "b": b, "j": j, "a": a, "at": at}]));
    });
}
