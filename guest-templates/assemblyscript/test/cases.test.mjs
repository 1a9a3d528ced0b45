// The cases of `tests/`, which `sluice test` runs in the gateway's own runtime, on a gateway in small.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import { Call, EXECUTION, compile } from "./host.mjs";

const folder = process.env.CASES ?? "tests";
const module = await compile("assembly/exports.ts");

for (const file of (await readdir(folder)).filter((file) => file.endsWith(".json")).sort()) {
  const name = file.slice(0, -".json".length).replaceAll("-", " ");
  test(name, async () => play(read(await readFile(`${folder}/${file}`, "utf8"))));
}

// JavaScript's numbers would lose digits, and tell 1 from 1.0 no more. Here a number is its text behind `NUMBER`.
const NUMBER = "\\u0000number:";
const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*/g;

function read(text) {
  return JSON.parse(text.replace(TOKEN, (token) => (token.startsWith('"') ? token : `"${NUMBER}${token}"`)));
}

function write(value) {
  return JSON.stringify(value).replace(/"\\u0000number:([^"]*)"/g, "$1");
}

function play(told) {
  const data = { ...told.data };
  const http = [...(told.http ?? [])];
  const db = [...(told.db ?? [])];
  const call = new Call(module, {
    get: (key) => (key in data ? write(data[key]) : null),
    set: (key, json) => void (data[key] = read(json)),
    http: (request) => answerHttp(http.shift(), request),
    db: (statement) => answerDb(db.shift(), statement),
  });
  const outcome = call.run(write(told.input ?? null));

  const { expect } = told;
  const got = { ...outcome, logs: call.logs.map(line) };
  if (got.output) got.output = read(got.output);
  for (const [member, wanted] of Object.entries(expect)) {
    if (member === "data") covers(data, wanted);
    else if (member === "failure") covers(got.failure, wanted);
    else assert.deepEqual(got[member], wanted, member);
  }
  if (expect.output) assert.equal(outcome.output, write(expect.output), "the members are in the order of the case");
  assert.equal(http.length + db.length, 0, "all canned answers were asked for");
}

function covers(got, wanted) {
  for (const [name, value] of Object.entries(wanted)) assert.deepEqual(got?.[name], value, name);
}

function line({ level, message, fields }) {
  return { level, message, fields: Object.fromEntries(fields.map(([name, json]) => [name, read(json)])) };
}

function answerHttp(told, request) {
  assert.ok(told, `an answer to ${request.method} ${request.url}`);
  const { method, url, headers = [], body } = told.request;
  assert.deepEqual([request.method, request.url], [method, url]);
  assert.deepEqual(request.headers, headers);
  assert.equal(request.body && new TextDecoder().decode(request.body), body ?? null);
  if (told.error) throw told.error;
  const { status, headers: answered = [], body: content = "" } = told.response;
  const isText = typeof content === "string" && !content.startsWith(JSON.parse(`"${NUMBER}"`));
  return { status: Number(write(status)), headers: answered, body: isText ? content : write(content) };
}

function answerDb(told, statement) {
  assert.ok(told, `an answer to ${statement.sql}`);
  assert.deepEqual([statement.connection, statement.sql], [told.connection, told.sql]);
  const params = read(statement.params);
  if (told.params) assert.deepEqual(params, told.params);
  // Who redeems is told by the execution, which no case knows.
  else if (statement.kind === "execute") assert.equal(params.at(-1), EXECUTION.idempotencyKey);
  if (told.error) throw told.error;
  return statement.kind === "query" ? write(told.rows) : Number(write(told.changed));
}
