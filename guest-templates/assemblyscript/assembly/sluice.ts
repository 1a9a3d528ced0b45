// The thin layer between a step's own code and the gateway; the same for every step.
//
// Owns the calls of the host. How values lie in memory is in `abi`, how a step ends in `outcome`, JSON in `json` and `writer`.
// Invariant: what the author returns is what the gateway is told; only what aborts becomes a trap.

import { PAIR_BYTES, isUtf8, loadBytes, loadOptionalText, loadText, release, storeText, storeTexts, take } from "./abi";
import { Reader, State } from "./json";
import { Failure, Outcome, Result, failure, invalidValue } from "./outcome";
import { Writer, quote } from "./writer";

export * from "./outcome";

/** The variant `host-error` at `at`, as the ending of a step. Look at its `code` where the step can go on. */
function refusal(at: usize): Failure {
  const text = loadText(at + 4);
  switch (load<u8>(at)) {
    case 0:
      return failure("permission-denied", text);
    case 1:
      return failure("invalid-argument", text);
    case 2:
      return failure("not-found", text);
    case 3:
      return failure("limit-exceeded", text);
    case 4:
      return failure("timed-out", text).retryable();
    default:
      return failure("host-failed", text).retryable();
  }
}

// ---- Log ----

// @ts-ignore: decorator
@external("sluice:step/log@0.1.0", "write")
declare function hostWrite(level: u32, message: usize, messageBytes: usize, fields: usize, count: usize): void;

const enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

/** Log lines, kept with the execution. Logging never fails a step. */
export namespace log {
  /** The fields of a line: `new log.Fields().text("order_id", id).unsigned("total_cents", total)`. */
  export class Fields {
    /** Names and values in turn. */
    readonly pairs: string[] = [];

    text(name: string, text: string): Fields {
      return this.json(name, quote(text));
    }

    integer(name: string, integer: i64): Fields {
      return this.json(name, integer.toString());
    }

    unsigned(name: string, integer: u64): Fields {
      return this.json(name, integer.toString());
    }

    bool(name: string, bool: bool): Fields {
      return this.json(name, bool ? "true" : "false");
    }

    /** Any value, as JSON. */
    json(name: string, json: string): Fields {
      this.pairs.push(name);
      this.pairs.push(json);
      return this;
    }
  }

  export function debug(message: string, fields: Fields | null = null): void {
    line(Level.Debug, message, fields);
  }

  export function info(message: string, fields: Fields | null = null): void {
    line(Level.Info, message, fields);
  }

  export function warn(message: string, fields: Fields | null = null): void {
    line(Level.Warn, message, fields);
  }

  export function error(message: string, fields: Fields | null = null): void {
    line(Level.Error, message, fields);
  }

  function line(level: Level, message: string, fields: Fields | null): void {
    const args = take(2 * PAIR_BYTES);
    storeText(args, message);
    // A list of pairs of strings lies in memory as a list of twice as many strings.
    if (fields) storeTexts(args + PAIR_BYTES, fields.pairs);
    hostWrite(level, load<usize>(args), load<usize>(args, 4), load<usize>(args, 8), load<usize>(args, 12) >> 1);
    release();
  }
}

/** What AssemblyScript calls before it gives up: the text is a line of the log, and the call a trap. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const place = file ? ", at " + file + ":" + line.toString() + ":" + column.toString() : "";
  log.error((message ? message : "aborted") + place);
  unreachable();
}

// ---- Context ----

// @ts-ignore: decorator
@external("sluice:step/context@0.1.0", "current")
declare function hostCurrent(result: usize): void;

// @ts-ignore: decorator
@external("sluice:step/context@0.1.0", "get")
declare function hostGet(key: usize, keyBytes: usize, result: usize): void;

// @ts-ignore: decorator
@external("sluice:step/context@0.1.0", "set")
declare function hostSet(key: usize, keyBytes: usize, value: usize, valueBytes: usize, result: usize): void;

/** The data of the job, and what this execution is. */
export namespace context {
  export class Execution {
    executionId: string = "";
    module: string = "";
    version: string = "";
    function: string = "";
    /** Null when the step was invoked on its own, outside a job. */
    job: string | null = null;
    runId: string | null = null;
    stepId: string | null = null;
    /** 1 for the first attempt. */
    attempt: u32 = 0;
    /** The same for every attempt of this step of this run: what to send to others as their idempotency key. */
    idempotencyKey: string = "";
  }

  export function current(): Execution {
    const result = take(80);
    hostCurrent(result);
    const execution = new Execution();
    execution.executionId = loadText(result);
    execution.module = loadText(result + 8);
    execution.version = loadText(result + 16);
    execution.function = loadText(result + 24);
    execution.job = loadOptionalText(result + 32);
    execution.runId = loadOptionalText(result + 44);
    execution.stepId = loadOptionalText(result + 56);
    execution.attempt = load<u32>(result, 68);
    execution.idempotencyKey = loadText(result + 72);
    release();
    return execution;
  }

  /** The value at `key` as JSON, null where there is none. A key that starts with `/` is a JSON Pointer. */
  export function get(key: string): Result<string | null> {
    const args = take(PAIR_BYTES + 16);
    const result = args + PAIR_BYTES;
    storeText(args, key);
    hostGet(load<usize>(args), load<usize>(args, 4), result);
    const answer = load<u8>(result)
      ? Result.end<string | null>(refusal(result + 4))
      : Result.of<string | null>(loadOptionalText(result + 4));
    release();
    return answer;
  }

  /** The text at `key`, null where there is none. A value of another type is an error of the data. */
  export function getText(key: string): Result<string | null> {
    const answer = get(key);
    if (answer.failed) return answer;
    const json = answer.value;
    if (json === null) return answer;
    const reader = new Reader(json);
    const state = reader.readText();
    if (reader.end() && state == State.Given) return Result.of<string | null>(reader.text);
    return Result.end<string | null>(wrongType(key));
  }

  /** How a step ends that can't read the value at `key`. */
  export function wrongType(key: string): Outcome {
    const path = key.startsWith("/") ? key : "/" + key;
    return invalidValue(path, "malformed", "not of the type that the step reads");
  }

  /** Sets the value at `key`, as JSON. Kept when the step completes, dropped when it fails. How the step ends, else null. */
  export function set(key: string, json: string): Outcome | null {
    const args = take(2 * PAIR_BYTES + 16);
    const result = args + 2 * PAIR_BYTES;
    storeText(args, key);
    storeText(args + PAIR_BYTES, json);
    hostSet(load<usize>(args), load<usize>(args, 4), load<usize>(args, 8), load<usize>(args, 12), result);
    const ending = load<u8>(result) ? refusal(result + 4) : null;
    release();
    return ending;
  }
}

// ---- HTTP ----

// The fields of the record `request` are eleven values, which pass as parameters since they are at most sixteen.
// @ts-ignore: decorator
@external("sluice:step/http@0.1.0", "send")
declare function hostSend(
  method: usize,
  methodBytes: usize,
  url: usize,
  urlBytes: usize,
  headers: usize,
  headerCount: usize,
  hasBody: u32,
  body: usize,
  bodyBytes: usize,
  hasTimeout: u32,
  timeout_ms: u32,
  result: usize,
): void;

/** Other servers, as far as the step's permissions reach. `{{secret:NAME}}` in a header or a body is replaced on the way. */
export namespace http {
  /** Asks with GET. */
  export function get(url: string): Request {
    return new Request("GET", url);
  }

  /** Asks with any other method. */
  export function request(method: string, url: string): Request {
    return new Request(method, url);
  }

  export class Request {
    /** Names and values in turn. */
    private headers: string[] = [];
    private content: Uint8Array | null = null;
    /** Below 0: as long as the step has left. */
    private time_ms: i64 = -1;

    constructor(
      private method: string,
      private url: string,
    ) {}

    /** One more header. */
    header(name: string, value: string): Request {
      this.headers.push(name);
      this.headers.push(value);
      return this;
    }

    body(bytes: Uint8Array): Request {
      this.content = bytes;
      return this;
    }

    /** A body of JSON. */
    json(json: string): Request {
      this.content = Uint8Array.wrap(String.UTF8.encode(json, false, String.UTF8.ErrorMode.REPLACE));
      return this.header("content-type", "application/json");
    }

    /** For the whole exchange. */
    timeout(time_ms: u32): Request {
      this.time_ms = time_ms;
      return this;
    }

    /** Sends it. Any status is an answer, and redirects are not followed. */
    send(): Result<Response> {
      const args = take(3 * PAIR_BYTES + 24);
      const result = args + 3 * PAIR_BYTES;
      storeText(args, this.method);
      storeText(args + 8, this.url);
      storeTexts(args + 16, this.headers);
      const content = this.content;
      hostSend(
        load<usize>(args),
        load<usize>(args, 4),
        load<usize>(args, 8),
        load<usize>(args, 12),
        load<usize>(args, 16),
        load<usize>(args, 20) >> 1,
        u32(content !== null),
        content === null ? 0 : content.dataStart,
        content === null ? 0 : <usize>content.length,
        u32(this.time_ms >= 0),
        this.time_ms >= 0 ? <u32>this.time_ms : 0,
        result,
      );
      const answer = load<u8>(result)
        ? Result.end<Response>(refusal(result + 4))
        : Result.of<Response>(new Response(result + 4));
      release();
      return answer;
    }
  }

  export class Response {
    readonly status: u16;
    /** Names and values in turn. */
    readonly headers: string[] = [];
    readonly body: Uint8Array;

    /** From the record `response` at `at`. */
    constructor(at: usize) {
      this.status = load<u16>(at);
      this.body = loadBytes(at + 12);
      const list = load<usize>(at, 4);
      const count = load<usize>(at, 8) << 1;
      for (let index: usize = 0; index < count; index++) this.headers.push(loadText(list + index * PAIR_BYTES));
      if (count) heap.free(list);
    }

    /** The body as text, to be read as JSON, where the status says that it went well. 429 and 5xx are worth another attempt. */
    json(): Result<string> {
      if (this.status < 200 || this.status > 299) {
        const failed = failure("http-status", "the server answered " + this.status.toString());
        return Result.end<string>(this.status == 429 || this.status >= 500 ? failed.retryable() : failed);
      }
      if (!isUtf8(this.body)) return Result.end<string>(wrongBody());
      return Result.of<string>(String.UTF8.decodeUnsafe(this.body.dataStart, this.body.length));
    }
  }

  /** How a step ends that can't read an answer. */
  export function wrongBody(): Outcome {
    return failure("http-body", "the server's answer is not what the step reads");
  }
}

// ---- Databases ----

// @ts-ignore: decorator
@external("sluice:step/db@0.1.0", "query")
declare function hostQuery(
  connection: usize,
  connectionBytes: usize,
  sql: usize,
  sqlBytes: usize,
  params: usize,
  paramsBytes: usize,
  result: usize,
): void;

// @ts-ignore: decorator
@external("sluice:step/db@0.1.0", "execute")
declare function hostExecute(
  connection: usize,
  connectionBytes: usize,
  sql: usize,
  sqlBytes: usize,
  params: usize,
  paramsBytes: usize,
  result: usize,
): void;

/** The databases that the operator has named, as far as the step's permissions reach. `$1`, `$2` are the parameters. */
export namespace db {
  /** The parameters of a statement: `new db.Params().text(id).integer(7)`. */
  export class Params {
    private list: Writer = new Writer().openList();

    text(text: string): Params {
      this.list.text(text);
      return this;
    }

    integer(integer: i64): Params {
      this.list.integer(integer);
      return this;
    }

    /** Any value, as JSON. */
    json(json: string): Params {
      this.list.json(json);
      return this;
    }

    /** Once, by the call that sends them. */
    finish(): string {
      return this.list.closeList().finish();
    }
  }

  /** The rows of one statement that only reads: JSON, a list with an object a row. */
  export function query(connection: string, sql: string, params: Params): Result<string> {
    const args = statement(connection, sql, params);
    const result = args + 3 * PAIR_BYTES;
    hostQuery(
      load<usize>(args),
      load<usize>(args, 4),
      load<usize>(args, 8),
      load<usize>(args, 12),
      load<usize>(args, 16),
      load<usize>(args, 20),
      result,
    );
    const answer = load<u8>(result) ? Result.end<string>(refusal(result + 4)) : Result.of<string>(loadText(result + 4));
    release();
    return answer;
  }

  /** The number of rows that one statement changed. */
  export function execute(connection: string, sql: string, params: Params): Result<u32> {
    const args = statement(connection, sql, params);
    const result = args + 3 * PAIR_BYTES;
    hostExecute(
      load<usize>(args),
      load<usize>(args, 4),
      load<usize>(args, 8),
      load<usize>(args, 12),
      load<usize>(args, 16),
      load<usize>(args, 20),
      result,
    );
    const answer = load<u8>(result) ? Result.end<u32>(refusal(result + 4)) : Result.of<u32>(load<u32>(result, 4));
    release();
    return answer;
  }

  /** How a step ends that can't read a row. */
  export function wrongRow(): Outcome {
    return failure("row", "the rows are not what the step reads");
  }

  /** The arguments of either call, and room for its result. */
  function statement(connection: string, sql: string, params: Params): usize {
    const args = take(3 * PAIR_BYTES + 16);
    storeText(args, connection);
    storeText(args + 8, sql);
    storeText(args + 16, params.finish());
    return args;
  }
}
