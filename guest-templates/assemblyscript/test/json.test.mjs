// What JSON is, what it is read as, and that no text is too much.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Call, compile } from "./host.mjs";

const module = await compile("test/reading.ts");

/** What a text is read as, or the message that it is no JSON. */
function read(type, text) {
  const { status, output, errors } = new Call(module).run(`${type}:${text}`);
  if (status === "completed") return output;
  assert.deepEqual([errors.length, errors[0].path, errors[0].code], [1, "", "malformed"]);
  return errors[0].message;
}

function refused(type, text, line, column) {
  assert.equal(read(type, text), `not what the step reads, at line ${line} column ${column}`, JSON.stringify(text));
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const GOOD = [
  "null",
  "true",
  "false",
  "0",
  "-0",
  "12",
  "-12",
  "1.5",
  "0.0",
  "1e2",
  "1E+2",
  "1e-2",
  "0e0",
  "1.25e10",
  '""',
  '"a"',
  '"\\u00e9\\n\\/\\"\\\\"',
  '"\\ud83d\\ude00"',
  '"\\ud800"',
  '"\u007f\u2028"',
  "[]",
  "{}",
  "[1]",
  "[1,2,[3,[]],{}]",
  '{"a":1}',
  '{"a":{"b":[{}]},"c":null}',
  " \t\r\n[ 1 , 2 ] \n",
  '{ "a" : 1 , "a" : 2 }',
  '{"":""}',
  "1e400",
  "-1e400",
];
const BAD = [
  "",
  " ",
  "nul",
  "nulll",
  "True",
  "tru",
  "01",
  "-",
  "+1",
  ".5",
  "1.",
  "1.e2",
  "1e",
  "1e+",
  "0x1",
  "1_0",
  "--1",
  "-a",
  "NaN",
  "Infinity",
  '"',
  '"a',
  "'a'",
  '"\n"',
  '"\t"',
  '"\u0000"',
  '"\\x"',
  '"\\u12"',
  '"\\u12g4"',
  '"\\',
  '"\\u',
  '"\\"',
  "[",
  "]",
  "[1",
  "[1,",
  "[1,]",
  "[,1]",
  "[1 2]",
  "[1}",
  "{",
  "}",
  "{]",
  '{"a"',
  '{"a":',
  '{"a":1',
  '{"a":1,',
  '{"a":1,}',
  "{,}",
  "{1:2}",
  "{a:1}",
  '{"a" 1}',
  '{"a":1 "b":2}',
  '{"a":}',
  '{"a":1]',
  "[]]",
  "{}{}",
  "1 1",
  '"a" b',
  "[1],",
  "/**/1",
  "\ufeff1",
  "\u00a01",
  "[[]",
  "[{]}",
  '{"a":[}',
  "ü",
  '["ü" ü]',
];

test("JSON is told from what is none", () => {
  for (const text of GOOD) assert.equal(read("skip", text), "true", text);
  for (const text of BAD) assert.match(read("skip", text), /^not what/, text);
  for (const text of BAD) assert.match(read("object", `{"a": ${text}`), /^not what/, text);
});

test("any text is judged as by another reader", () => {
  let seed = 26;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const pieces = [
    ...'{}[]",:\\u0123456789abfnrt-+.eE \n',
    "null",
    "true",
    '"a"',
    '"a":',
    "\\u00e9",
    "1.5e3",
    "[1,2]",
    '{"a":1}',
    "ü",
  ];
  for (let round = 0; round < 3000; round++) {
    // A good text with a few pieces put in, taken out, or both.
    let text = GOOD[random(GOOD.length)];
    for (let change = random(4); change > 0; change--) {
      const at = random(text.length + 1);
      text = text.slice(0, at) + (random(2) ? pieces[random(pieces.length)] : "") + text.slice(at + random(2));
    }
    const verdict = read("skip", text);
    assert.equal(verdict === "true", isJson(text), JSON.stringify(text));
    if (verdict === "true") assert.equal(read("json", text), JSON.stringify(text.trim()));
  }
});

test("strings are read with all that they hold", () => {
  const texts = [
    "",
    "a",
    "grün 日本語 𝄞",
    "\u0000\u001f\u007f\u2028\ufeff\uffff",
    '"\\/\b\f\n\r\t',
    "ab".repeat(500_000),
  ];
  for (const text of texts) {
    const escaped = [...text].map((letter) =>
      letter
        .split("")
        .map((unit) => `\\u${unit.charCodeAt().toString(16).padStart(4, "0")}`)
        .join(""),
    );
    assert.equal(read("string", JSON.stringify(text)), JSON.stringify(text));
    if (text.length < 100) assert.equal(read("string", `"${escaped.join("")}"`), JSON.stringify(text));
  }
  assert.equal(read("string", '"\\u00FC\\u00fc"'), '"üü"');
  assert.equal(read("string", `"${"\\n".repeat(400_000)}"`), JSON.stringify("\n".repeat(400_000)));
});

test("half a pair of surrogates is no text", () => {
  refused("string", '"\\ud800"', 1, 8);
  refused("string", '"\\udc00"', 1, 7);
  refused("string", '"\\ud800\\u0041"', 1, 13);
  refused("string", '"\\ud800\\ud800"', 1, 13);
  refused("string", '"\\ud800\\n"', 1, 9);
});

test("integers are exact, and are not written as fractions", () => {
  for (const text of ["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993"])
    assert.equal(read("i64", text), text);
  for (const text of [
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "99999999999999999999",
    "-0",
    "1.0",
    "1e2",
    "1E0",
    "-0.0",
    '"1"',
    "true",
    "[]",
    "{}",
  ]) {
    assert.equal(read("i64", text), '"malformed"', text);
  }
  assert.equal(read("i64", "null"), '"missing"');
  const bounds = {
    i32: ["-2147483648", "2147483647", "-2147483649", "2147483648"],
    u8: ["0", "255", "-1", "256"],
    u64: ["0", "18446744073709551615", "-1", "18446744073709551616"],
  };
  for (const [type, [least, most, below, above]] of Object.entries(bounds)) {
    assert.deepEqual([read(type, least), read(type, most)], [least, most]);
    assert.deepEqual([read(type, below), read(type, above)], ['"malformed"', '"malformed"'], type);
    for (const text of ["-0", "1.0", "1e2", "[]", '"1"']) assert.equal(read(type, text), '"malformed"', type);
  }
});

test("the kind of a value is told before it is read", () => {
  for (const [text, kind] of [
    ["null", 1],
    [" false", 2],
    ["true", 2],
    ["-1.5", 3],
    ['"{"', 4],
    ["[1]", 5],
    [" {}", 6],
  ]) {
    assert.equal(read("kinds", text), `[${kind}]`, text);
  }
  const values = '{"a" : [1], "" :null,"b":\n"c"}';
  assert.equal(read("kinds", values), '[6,"a",5,5,[1],"",1,1,null,"b",4,4,"c"]');
  for (const text of ["", " ", "]"]) refused("kinds", text, 1, text.length);
});

test("a number past the range of f64 is none", () => {
  for (const text of [
    "1e309",
    "-1e309",
    "1e400",
    "1e99999999999999999999",
    "2e308",
    "1" + "0".repeat(309),
    "0.1e310",
    "1.8e308",
  ]) {
    refused("i64", text, 1, text.length);
    refused("string", text, 1, text.length);
    assert.equal(read("skip", text), "true", "unless nobody reads it");
  }
  for (const text of [
    "1e308",
    "1.7976931348623157e308",
    "0e400",
    "0.0e99999999999",
    "1e-99999999999",
    "0." + "0".repeat(400) + "1e400",
    "1e-400",
  ]) {
    assert.equal(read("i64", text), '"malformed"', text);
  }
});

test("fractions are read", () => {
  for (const text of ["0", "1.5", "-2.25", "1e2", "1e-7", "123456789.125", "1e300", "9007199254740993"]) {
    assert.equal(Number(read("f64", text)), Number(text), text);
  }
  assert.equal(read("f64", '"1"'), '"malformed"');
});

test("a fraction is the f64 that is nearest, as in JavaScript", () => {
  const floats = new Float64Array(1);
  const halves = new Uint32Array(floats.buffer);
  // A generator of our own, so that a failure comes again (Marsaglia, xorshift32).
  let seed = 2463534242;
  const random = () => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return seed >>> 0;
  };
  const texts = [
    ...["3.3085694355556635e+41", "9007199254740993", "9007199254740993.00000000000000000000000000000000001", "5e-324"],
    ...["2.4703282292062327208e-324", "2.4703282292062328e-324", "2.2250738585072011e-308", "2.2250738585072014e-308"],
    ...["1.7976931348623157e308", "1.7976931348623158e308", "0.1", "0.30000000000000004", "1e23", "8.41e21", "-0", "-0.0"],
    ...["0." + "0".repeat(323) + "49" + "0".repeat(1000) + "1", "1" + "0".repeat(308), "1".repeat(309), "9".repeat(308)],
    ...["9007199254740993." + "0".repeat(900) + "1", "9007199254740992.9" + "9".repeat(900), "1e-999999999999", "0e99"],
    ...["123e-2147483648", "0.000001e30", "72057594037927945" + "0".repeat(50), "72057594037927944.5e-300"],
  ];
  for (let index = 0; index < 3000; index++) {
    [halves[0], halves[1]] = [random(), random()];
    if (!Number.isFinite(floats[0])) continue;
    const digits = 1 + (random() % 30);
    texts.push(String(floats[0]), floats[0].toExponential(digits), String(random() / 2 ** (random() % 60)));
  }
  for (const text of texts) {
    const got = read("f64", text);
    assert.ok(Object.is(Number(got), Number(text)), `${text} is ${got}`);
  }
});

test("words are read", () => {
  assert.deepEqual(["true", "false", "null", "1", "tru"].map((text) => read("bool", text)).slice(0, 4), [
    "true",
    "false",
    '"missing"',
    '"malformed"',
  ]);
  refused("bool", "tru", 1, 3);
  refused("bool", "trux", 1, 4);
});

test("members are known by their names, however they are escaped", () => {
  assert.equal(read("object", '{"x": [1, {"a": "no"}], "a": "yes", "": 0, "aa": 1}'), '[2,2,"yes","x","","aa"]');
  assert.equal(read("object", '{"\\u0061": "yes"}'), '[2,2,"yes"]');
  assert.equal(read("object", '{"\\u00fc": "yes"}'), '[2,2,"yes"]');
  assert.equal(read("object", '{"ü": "yes", "b\\n": 1}'), '[2,2,"yes","b\\n"]');
  assert.deepEqual(
    ["{}", "null", "[]", '"a"', '{"a": null}', '{"a": 1}'].map((text) => read("object", text)),
    ['[2,0,""]', '[0,0,""]', '[1,0,""]', '[1,0,""]', '[2,0,""]', '[2,1,""]'],
  );
  assert.equal(read("object", '{"x": 1, "x": 2}'), '[2,0,"","x","x"]', "twice what nobody reads is nobody's mistake");
});

test("a member that comes twice is refused where it comes again", () => {
  refused("object", '{"a": "1", "a": "2"}', 1, 14);
  refused("object", '{"a": null,\n "a" : null}', 2, 5);
  refused("object", '{"ü": 1, "a": 1}', 1, 13);
});

test("lists are read value by value", () => {
  assert.equal(read("list", '[1, null, "x", {"a": [1]}, [[2]], -7]'), "[2,2,1,0,0,1,0,1,0,1,0,2,-7]");
  assert.deepEqual(
    ["[]", "null", "{}", "1"].map((text) => read("list", text)),
    ["[2]", "[0]", "[1]", "[1]"],
  );
});

test("the place of a mistake is told in lines and bytes", () => {
  refused("skip", "", 1, 0);
  refused("skip", '{"a": 1,\n  "ü": x}', 2, 9);
  refused("skip", "[1, 2\n", 2, 0);
  refused("skip", "{} x", 1, 4);
  refused("skip", "[1]\n\nü", 3, 1);
});

test("depth and length cost no stack, and little memory", () => {
  const many = 500_000;
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ]) {
    const count = many / open.length;
    const deep = open.repeat(count) + "1" + close.repeat(count);
    for (const type of ["skip", "i64", "string", "object", "list"]) {
      const call = new Call(module);
      assert.equal(call.run(`${type}:${deep}`).status, "completed");
      assert.ok(call.memory.byteLength < 32e6, `${type}: ${call.memory.byteLength} bytes`);
    }
    assert.match(read("skip", open.repeat(count)), /^not what/);
  }
});
