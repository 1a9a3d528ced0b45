// The rules where the cases of `tests/` would be too large or too many to be written down.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Call, compile } from "./host.mjs";

const module = await compile("assembly/exports.ts");
/** Half of what a step has by default: whatever comes in, much room is left. */
const MEMORY_BYTES_MAX = 32e6;

function check(text) {
  const answers = {
    get: () => null,
    set: () => {},
    http: () => ({ status: 200, headers: [], body: '{"percent":100}' }),
  };
  const call = new Call(module, { ...answers, db: ({ kind }) => (kind === "query" ? '[{"times":1}]' : 1) });
  const outcome = call.run(text);
  assert.ok(call.memory.byteLength < MEMORY_BYTES_MAX, `${call.memory.byteLength} bytes`);
  return outcome;
}

function order(items, more = "") {
  return `{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": ${items}${more}}}`;
}

function found(text) {
  const { status, errors } = check(text);
  assert.equal(status, "invalid");
  return errors.map(({ path, code }) => [path, code]);
}

test("a small order needs no more memory than an instance starts with", () => {
  const call = new Call(module, { get: () => null, set: () => {} });
  call.run(order('[{"sku": "pen", "quantity": 2, "price_cents": 125000}]'));
  assert.equal(call.memory.byteLength, 65536);
});

test("an order of a megabyte is priced", () => {
  const lines = 22_000;
  const outcome = check(order(`[${Array(lines).fill('{"sku": "pen", "quantity": 2, "price_cents": 10}').join()}]`));
  assert.match(outcome.output, new RegExp(`"total_cents":${lines * 20},"item_count":${lines * 2},`));
});

test("an order of a megabyte of one text is refused", () => {
  const long = "ü".repeat(500_000);
  assert.deepEqual(found(order("[]", `, "coupon": "${long}"`)), [
    ["/order/coupon", "malformed"],
    ["/order/items", "required"],
  ]);
  assert.deepEqual(found(order(`[{"sku": "${"\\n".repeat(500_000)}"}]`)).at(0), ["/order/items/0/sku", "out-of-range"]);
});

test("a hostile order gets a bounded answer", () => {
  for (const item of ["5", "{}", "[]", "null", '""', '{"sku":""}', "1.5"]) {
    const items = Array(Math.floor(1_000_000 / (item.length + 1))).fill(item);
    assert.equal(found(order(`[${items}]`)).length, 100, item);
  }
  const ids = Array(100_000).fill('"":0');
  assert.deepEqual(
    found(`{"order": {${ids}}}`).map(([path]) => path),
    ["/order/id", "/order/customer", "/order/country", "/order/items"],
  );
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ]) {
    const deep = open.repeat(100_000) + "0" + close.repeat(100_000);
    assert.ok(found(order(`[${deep}]`))[0][0].startsWith("/order/items/0"));
    assert.ok(found(order(deep))[0][0].startsWith("/order/items"));
    assert.equal(
      check(order('[{"sku": "pen", "quantity": 1, "price_cents": 1}]', `, "more": ${deep}`)).status,
      "completed",
    );
  }
});

test("a finding of the lines comes after those of the order, wherever the lines stand", () => {
  const text = '{"order": {"items": [5], "country": "D", "id": "", "customer": "ada@example.com"}}';
  assert.deepEqual(found(text), [
    ["/order/id", "required"],
    ["/order/country", "malformed"],
    ["/order/items/0", "malformed"],
  ]);
  const full = order(`[${Array(200).fill("5")}]`).replace('"A-17"', '""');
  assert.deepEqual(
    [found(full).length, found(full)[0], found(full)[99]],
    [100, ["/order/id", "required"], ["/order/items/98", "malformed"]],
  );
});

test("a sum past 64 bits is told, and not lost in a later line", () => {
  const large = '{"sku": "a", "quantity": 3, "price_cents": 9223372036854775807}';
  const small = '{"sku": "a", "quantity": 1, "price_cents": 1}';
  for (const items of [[large], [large, small], [small, large, small]]) {
    assert.deepEqual(found(order(`[${items}]`)), [["/order/items", "out-of-range"]]);
  }
  const most = '{"sku": "a", "quantity": 2, "price_cents": 9223372036854775807}';
  assert.match(check(order(`[${most}, ${small}]`)).output, /"total_cents":18446744073709551615,/);
  assert.deepEqual(found(order(`[${most}, ${small}, ${small}]`)), [["/order/items", "out-of-range"]]);
  assert.match(check(order(`[${most}, ${small}]`, ', "coupon": "FREE"')).output, /"total_cents":0,/);
});

test("a member that comes twice is no input", () => {
  for (const text of [
    '{"order": {}, "order": {}}',
    '{"order": {"items": [], "items": 1}}',
    order('[{"sku": "a", "sku": "b"}]'),
  ]) {
    assert.deepEqual(found(text), [["", "malformed"]]);
  }
});
