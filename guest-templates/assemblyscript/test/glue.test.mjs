// Every type of the world, both ways, with empty, large and other than ASCII values.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Call, EXECUTION, compile } from "./host.mjs";

const module = await compile("test/every-type.ts");
const ERRORS = [
  ["permission-denied", "permission-denied", false],
  ["invalid-argument", "invalid-argument", false],
  ["not-found", "not-found", false],
  ["limit-exceeded", "limit-exceeded", false],
  ["timed-out", "timed-out", true],
  ["failed", "host-failed", true],
];
const TEXTS = [
  "",
  "a",
  "grün",
  "日本語",
  "𝄞 and 😀",
  '\u0000\u0001"\\/\b\f\n\r\t\u007f\u2028\ufeff',
  "x".repeat(1_000_000),
];

function play(args, answers) {
  const call = new Call(module, answers);
  return { call, outcome: call.run(JSON.stringify(args)) };
}

function output(args, answers) {
  const { outcome } = play(args, answers);
  assert.equal(outcome.status, "completed", JSON.stringify(outcome));
  return JSON.parse(outcome.output);
}

function failed(code, message, more = {}) {
  return {
    status: "failed",
    failure: { code, message, retryable: false, retry_after_ms: null, details: null, ...more },
  };
}

test("a completed step has its output and its next steps", () => {
  for (const text of TEXTS) {
    assert.deepEqual(play(["completed", text]).outcome, { status: "completed", output: text, next: null });
    assert.deepEqual(play(["then", text, "", text]).outcome, {
      status: "completed",
      output: "null",
      next: [text, "", text],
    });
  }
  assert.deepEqual(play(["then"]).outcome.next, [], "none at all is not the same as not said");
});

test("an invalid step has all its errors", () => {
  for (const paths of [[], TEXTS, Array.from({ length: 1000 }, (_, index) => `/${index}`)]) {
    const errors = paths.map((path) => ({ path, code: "code", message: "ü" }));
    assert.deepEqual(play(["invalid", ...paths]).outcome, { status: "invalid", errors });
  }
});

test("a failure says what is known, and no more", () => {
  for (const text of TEXTS) {
    assert.deepEqual(play(["failure", text, text]).outcome, failed(text, text));
    const more = { retryable: true, retry_after_ms: 2 ** 32 - 1, details: text };
    assert.deepEqual(play(["failure with all", "a", text, text]).outcome, failed("a", text, more));
  }
  assert.deepEqual(play(["failure at once"]).outcome, failed("a", "b", { retryable: true, retry_after_ms: 0 }));
});

test("half a pair of surrogates goes out as U+FFFD", () => {
  assert.equal(output(["halves", "😀"]), "\ufffd and \ufffd");
});

test("a log line has its level and its fields", () => {
  for (const text of TEXTS) {
    assert.deepEqual(play(["log", text, text, text]).call.logs, [
      { level: "debug", message: text, fields: [] },
      { level: "info", message: text, fields: [] },
      {
        level: "warn",
        message: text,
        fields: [
          [text, JSON.stringify(text)],
          ["integer", "-9223372036854775808"],
        ],
      },
      {
        level: "error",
        message: text,
        fields: [
          ["unsigned", "18446744073709551615"],
          ["bool", "true"],
          ["json", "[1]"],
        ],
      },
    ]);
  }
});

test("an execution has all its parts", () => {
  const { executionId, idempotencyKey } = EXECUTION;
  const alone = [executionId, "order-check", "0.1.0", "run", null, null, null, 1, idempotencyKey];
  assert.deepEqual(output(["current"]), alone);
  for (const text of TEXTS) {
    const execution = {
      executionId: text,
      module: text,
      version: text,
      function: text,
      job: text,
      runId: text,
      stepId: text,
      attempt: 2 ** 32 - 1,
      idempotencyKey: text,
    };
    assert.deepEqual(output(["current"], { execution }), Object.values(execution));
  }
  assert.deepEqual(output(["current"], { execution: { runId: "r" } }).slice(4, 7), [null, "r", null]);
});

test("the data of the job are read and written", () => {
  for (const text of TEXTS) {
    const get = (key) => (key === text ? JSON.stringify(text) : null);
    assert.deepEqual(output(["get", text], { get }), [JSON.stringify(text)]);
    assert.deepEqual(output(["get text", text], { get }), [text]);
    assert.deepEqual(output(["get", "other"], { get: () => null }), [null]);
    assert.deepEqual(output(["get text", "other"], { get: () => null }), [null]);
    const set = (key, json) => assert.deepEqual([key, json], [text, text]);
    assert.equal(output(["set", text, text], { set }), true);
  }
});

test("data of another type are told with their path", () => {
  for (const json of ["null", "7", "[]", '{"a": "b"}', '"a" "b"', '"', '"\\ud800"', ""]) {
    const errors = (path) => [{ path, code: "malformed", message: "not of the type that the step reads" }];
    assert.deepEqual(play(["get text", "region"], { get: () => json }).outcome.errors, errors("/region"));
    assert.deepEqual(play(["get text", "/a/b"], { get: () => json }).outcome.errors, errors("/a/b"));
  }
});

test("a request has what was said, and no more", () => {
  const answers = { http: () => ({ status: 204, headers: [], body: "" }) };
  for (const text of TEXTS) {
    const { call } = play(["http", text, text], answers);
    assert.deepEqual(call.requests, [{ method: text, url: text, headers: [], body: null, timeout_ms: null }]);
    const [request] = play(["http with all", "PUT", text, text], answers).call.requests;
    assert.equal(new TextDecoder("utf-8", { ignoreBOM: true }).decode(request.body), text);
    assert.deepEqual(request.headers, [
      ["a", "1"],
      ["b", ""],
      ["content-type", "application/json"],
    ]);
    assert.equal(request.timeout_ms, 2 ** 32 - 1);
  }
});

test("a response has its status, headers and bytes", () => {
  const respond = (status, headers, body) => output(["http", "GET", "u"], { http: () => ({ status, headers, body }) });
  assert.deepEqual(respond(65535, [], ""), [65535, 0]);
  assert.deepEqual(
    respond(
      200,
      [
        ["a", "ü"],
        ["", ""],
      ],
      Buffer.from([0, 255, 128, 7]),
    ),
    [200, "a", "ü", "", "", 4, 0, 255, 128, 7],
  );
  assert.equal(respond(200, [], Buffer.alloc(1_000_000))[1], 1_000_000);
  const many = Array.from({ length: 1000 }, (_, index) => [`h${index}`, "v"]);
  assert.equal(respond(200, many, "").length, 2002);
});

test("the body of a response is text only where it is UTF-8", () => {
  const respond = (body, status = 200) => play(["http json"], { http: () => ({ status, headers: [], body }) }).outcome;
  for (const text of TEXTS) assert.equal(respond(text).output, text);
  const bad = [
    "80",
    "c3",
    "c0af",
    "c328",
    "e08080",
    "e282",
    "eda080",
    "f0808080",
    "f4908080",
    "f5808080",
    "ff",
    "61e28261",
    "f09f98",
  ];
  for (const hex of bad) {
    const wanted = failed("http-body", "the server's answer is not what the step reads");
    assert.deepEqual(respond(Buffer.from(hex, "hex")), wanted, hex);
  }
  for (const good of ["c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf"]) {
    assert.equal(respond(Buffer.from(good, "hex")).status, "completed", good);
  }
  for (const [status, retryable] of [
    [199, false],
    [300, false],
    [404, false],
    [429, true],
    [499, false],
    [500, true],
    [599, true],
  ]) {
    assert.deepEqual(respond("", status), failed("http-status", `the server answered ${status}`, { retryable }));
  }
  assert.equal(respond("1", 299).output, "1");
});

test("statements have their parameters, and answers are rows or a count", () => {
  for (const text of TEXTS) {
    const { call, outcome } = play(["query", text, text, text], { db: () => text });
    const params = `[${JSON.stringify(text)},-9223372036854775808,null]`;
    assert.deepEqual(call.statements, [{ kind: "query", connection: text, sql: text, params }]);
    assert.equal(outcome.output, text);
  }
  const { call, outcome } = play(["execute", "a", "b"], { db: () => 2 ** 32 - 1 });
  assert.equal(outcome.output, "4294967295");
  assert.equal(call.statements[0].params, "[]");
});

test("every refusal of the host is a failure with its text", () => {
  const calls = [
    ["get", "a"],
    ["get text", "a"],
    ["set", "a", "1"],
    ["http", "GET", "u"],
    ["query", "a", "b", "c"],
    ["execute", "a", "b"],
  ];
  for (const [kind, code, retryable] of ERRORS) {
    for (const text of TEXTS) {
      const answer = () => {
        throw { [kind]: text };
      };
      const answers = { get: answer, set: answer, http: answer, db: answer };
      for (const args of calls) assert.deepEqual(play(args, answers).outcome, failed(code, text, { retryable }));
      assert.equal(output(["go on", code], answers), true, "a step may go on without the answer");
    }
  }
});

test("an abort is a line of the log and a trap", () => {
  const trap = (args, answers) => {
    const call = new Call(module, answers);
    assert.throws(() => call.run(JSON.stringify(args)), WebAssembly.RuntimeError);
    assert.deepEqual(
      call.logs.map(({ level, fields }) => [level, fields]),
      [["error", []]],
    );
    return call.logs[0].message;
  };
  assert.match(trap(["abort", "that must not be: ü"]), /^that must not be: ü, at test\/every-type\.ts:\d+:\d+$/);
  assert.match(trap(["index"]), /^Index out of range, at ~lib\/array\.ts/);
  const refused = () => {
    throw { "not-found": "" };
  };
  assert.match(trap(["misuse"], { set: () => {}, db: refused }), /^the value of a result that failed/);
});

test("a megabyte comes in and goes out within 32 MB", () => {
  const { call, outcome } = play(["large output"]);
  assert.equal(JSON.parse(outcome.output).length, 100_000);
  assert.ok(call.memory.byteLength < 32e6, `${call.memory.byteLength} bytes`);
});

test("memory from the gateway's side is aligned, and no bytes are somewhere", () => {
  const { cabi_realloc } = new Call(module).exports;
  for (const alignment of [1, 2, 4, 8]) {
    for (const bytes of [0, 1, 7, 100_000]) assert.equal(cabi_realloc(0, 0, alignment, bytes) % alignment, 0);
    assert.notEqual(cabi_realloc(0, 0, alignment, 0), 0);
  }
  const call = new Call(module);
  const old = call.putBytes(new TextEncoder().encode("kept"));
  assert.equal(call.textOf(call.exports.cabi_realloc(old, 4, 1, 100_000), 4), "kept");
});
