// A gateway in small: the other side of the canonical ABI, and the host calls of one case of `tests/`.
//
// It reads and writes memory by the rules of the specification, not by what `assembly/abi.ts` does, and is strict where a
// gateway is: text must be UTF-8, and memory must be there.

import { readFile } from "node:fs/promises";

import asc from "assemblyscript/asc";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ERRORS = ["permission-denied", "invalid-argument", "not-found", "limit-exceeded", "timed-out", "failed"];
const LEVELS = ["debug", "info", "warn", "error"];

export const EXECUTION = {
  executionId: "0190-execution",
  module: "order-check",
  version: "0.1.0",
  function: "run",
  job: null,
  runId: null,
  stepId: null,
  attempt: 1,
  idempotencyKey: "0190-execution",
};

/** Compiles an entry file with the options of the template; answers its core module. */
export async function compile(entry) {
  const outFile = `build/${entry.replaceAll("/", "-")}.wasm`;
  const { error, stderr } = await asc.main([entry, "--target", "release", "--outFile", outFile]);
  if (error) throw new Error(stderr.toString());
  return new WebAssembly.Module(await readFile(outFile));
}

/** One call of a step in a fresh instance. What it did beside its outcome is in the fields. */
export class Call {
  logs = [];
  requests = [];
  statements = [];
  /** The addresses that `cabi_realloc` gave. */
  taken = [];

  /** `answers`: `execution`, `get`, `set`, `http` and `db` are functions; an error is thrown as `{code: text}`. */
  constructor(module, answers = {}) {
    this.answers = answers;
    const imports = {
      "sluice:step/log@0.1.0": { write: this.write },
      "sluice:step/context@0.1.0": { current: this.current, get: this.get, set: this.set },
      "sluice:step/http@0.1.0": { send: this.send },
      "sluice:step/db@0.1.0": { query: this.query, execute: this.execute },
    };
    this.exports = new WebAssembly.Instance(module, imports).exports;
  }

  /** Calls the function with a text or bytes. */
  run(input, name = "run") {
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
    const at = this.exports[name](this.putBytes(bytes), bytes.length);
    if (at % 4) throw new Error(`an outcome at ${at}`);
    const outcome = this.outcome(at);
    this.exports[`cabi_post_${name}`](at);
    return outcome;
  }

  get memory() {
    return new DataView(this.exports.memory.buffer);
  }

  u8 = (at) => this.memory.getUint8(at);
  u32 = (at) => this.memory.getUint32(at, true);

  outcome(at) {
    const kind = this.u8(at);
    if (kind === 0) {
      const next = this.option(at + 12, (next) => this.list(next, 8, this.text));
      return { status: "completed", output: this.text(at + 4), next };
    }
    if (kind === 1) {
      const error = (at) => ({ path: this.text(at), code: this.text(at + 8), message: this.text(at + 16) });
      return { status: "invalid", errors: this.list(at + 4, 24, error) };
    }
    if (kind !== 2) throw new Error(`an outcome of the kind ${kind}`);
    const failure = {
      code: this.text(at + 4),
      message: this.text(at + 12),
      retryable: this.bool(at + 20),
      retry_after_ms: this.option(at + 24, this.u32),
      details: this.option(at + 32, this.text),
    };
    return { status: "failed", failure };
  }

  bool(at) {
    if (this.u8(at) > 1) throw new Error(`a bool of ${this.u8(at)}`);
    return this.u8(at) === 1;
  }

  option(at, read) {
    return this.bool(at) ? read(at + 4) : null;
  }

  bytesOf(pointer, length) {
    if (pointer + length > this.memory.byteLength) throw new Error("past the end of the memory");
    return new Uint8Array(this.memory.buffer, pointer, length);
  }

  textOf = (pointer, length) => utf8.decode(this.bytesOf(pointer, length));
  text = (at) => this.textOf(this.u32(at), this.u32(at + 4));

  listOf(pointer, count, bytes, read) {
    if (pointer % 4) throw new Error(`a list at ${pointer}`);
    this.bytesOf(pointer, count * bytes);
    return Array.from({ length: count }, (_, index) => read(pointer + index * bytes));
  }

  list = (at, bytes, read) => this.listOf(this.u32(at), this.u32(at + 4), bytes, read);
  pair = (at) => [this.text(at), this.text(at + 8)];

  realloc(alignment, bytes) {
    const at = this.exports.cabi_realloc(0, 0, alignment, bytes);
    if (at === 0 || at % alignment) throw new Error(`memory at ${at}`);
    this.bytesOf(at, bytes).fill(0xaa);
    this.taken.push(at);
    return at;
  }

  putBytes(bytes) {
    const at = this.realloc(1, bytes.length);
    this.bytesOf(at, bytes.length).set(bytes);
    return at;
  }

  putU32 = (at, value) => this.memory.setUint32(at, value, true);

  putText = (at, text) => {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    this.putU32(at, this.putBytes(bytes));
    this.putU32(at + 4, bytes.length);
  };

  putOption(at, value, put) {
    this.memory.setUint8(at, value == null ? 0 : 1);
    if (value != null) put(at + 4, value);
  }

  /** A `result` whose error is a host-error: puts what `answer` gives, or throws. */
  result(at, answer, put) {
    if (at % 4) throw new Error(`a result at ${at}`);
    let value;
    try {
      value = answer();
    } catch (error) {
      const [[code, text]] = Object.entries(error);
      if (!ERRORS.includes(code)) throw error;
      this.memory.setUint8(at, 1);
      this.memory.setUint8(at + 4, ERRORS.indexOf(code));
      this.putText(at + 8, text);
      return;
    }
    this.memory.setUint8(at, 0);
    put(at + 4, value);
  }

  write = (level, message, messageBytes, fields, count) => {
    const pairs = this.listOf(fields, count, 16, this.pair);
    this.logs.push({ level: LEVELS[level], message: this.textOf(message, messageBytes), fields: pairs });
  };

  current = (at) => {
    const execution = { ...EXECUTION, ...this.answers.execution };
    this.putText(at, execution.executionId);
    this.putText(at + 8, execution.module);
    this.putText(at + 16, execution.version);
    this.putText(at + 24, execution.function);
    this.putOption(at + 32, execution.job, this.putText);
    this.putOption(at + 44, execution.runId, this.putText);
    this.putOption(at + 56, execution.stepId, this.putText);
    this.putU32(at + 68, execution.attempt);
    this.putText(at + 72, execution.idempotencyKey);
  };

  get = (key, keyBytes, at) => {
    const name = this.textOf(key, keyBytes);
    this.result(
      at,
      () => this.answers.get(name),
      (at, json) => this.putOption(at, json, this.putText),
    );
  };

  set = (key, keyBytes, value, valueBytes, at) => {
    const [name, json] = [this.textOf(key, keyBytes), this.textOf(value, valueBytes)];
    this.result(
      at,
      () => this.answers.set(name, json),
      () => {},
    );
  };

  send = (
    method,
    methodBytes,
    url,
    urlBytes,
    headers,
    headerCount,
    hasBody,
    body,
    bodyBytes,
    hasTimeout,
    timeout,
    at,
  ) => {
    const request = {
      method: this.textOf(method, methodBytes),
      url: this.textOf(url, urlBytes),
      headers: this.listOf(headers, headerCount, 16, this.pair),
      body: hasBody ? this.bytesOf(body, bodyBytes).slice() : null,
      timeout_ms: hasTimeout ? timeout >>> 0 : null,
    };
    this.requests.push(request);
    this.result(
      at,
      () => this.answers.http(request),
      (at, response) => {
        this.memory.setUint16(at, response.status, true);
        const list = this.realloc(4, response.headers.length * 16);
        response.headers.forEach(([name, value], index) => {
          this.putText(list + index * 16, name);
          this.putText(list + index * 16 + 8, value);
        });
        this.putU32(at + 4, list);
        this.putU32(at + 8, response.headers.length);
        this.putText(at + 12, response.body);
      },
    );
  };

  statement(kind, [connection, connectionBytes, sql, sqlBytes, params, paramsBytes, at], put) {
    const statement = {
      kind,
      connection: this.textOf(connection, connectionBytes),
      sql: this.textOf(sql, sqlBytes),
      params: this.textOf(params, paramsBytes),
    };
    this.statements.push(statement);
    this.result(at, () => this.answers.db(statement), put);
  }

  query = (...args) => this.statement("query", args, this.putText);
  execute = (...args) => this.statement("execute", args, this.putU32);
}
