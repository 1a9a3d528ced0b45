// A step that does what its input says, and tells what came of it: all types of the interface, both ways.
//
// It knows the gateway by `sluice` and its parts alone, as any author's file does. The same input and the same answers of
// the host end it as they end the mirrors in other languages.

import { Field, Kind, Reader, State } from "./json";
import {
  Failure,
  Outcome,
  Result,
  ValidationError,
  completed,
  context,
  db,
  failure,
  http,
  invalid,
  log,
  malformed,
} from "./sluice";
import { Writer } from "./writer";

export function run(input: string): Outcome {
  const reader = new Reader(input);
  const calls: string[] = [];
  let end: string | null = null;
  reader.openObject();
  while (reader.nextMember()) {
    if (reader.isNamed("calls")) {
      reader.openList();
      while (reader.nextItem()) calls.push(reader.readJson());
    } else if (reader.isNamed("end")) end = reader.readJson();
    else reader.skip();
  }
  if (!reader.end()) return malformed(reader);

  const answers = new Writer().openList();
  for (let index = 0; index < calls.length; index++) {
    const answer = answerTo(calls[index]);
    if (answer.failed) return answer.outcome;
    answers.json(answer.value);
  }
  const output = answers.closeList().finish();
  return end === null ? completed(output) : finish(end, output);
}

// ---- How it ends ----

function finish(end: string, answers: string): Outcome {
  const reader = new Reader(end);
  reader.openObject();
  reader.nextMember();
  if (reader.isNamed("completed")) return done(reader, answers);
  if (reader.isNamed("invalid")) return invalid(findings(reader));
  if (reader.isNamed("failed")) return undone(reader);
  reader.readText();
  throw new Error(reader.text);
}

function done(reader: Reader, answers: string): Outcome {
  let output = answers;
  let next: string[] | null = null;
  reader.openObject();
  while (reader.nextMember()) {
    if (reader.isNamed("output")) output = reader.readJson();
    else if (reader.isNamed("next")) next = texts(reader);
    else reader.skip();
  }
  return completed(output, next);
}

function findings(reader: Reader): ValidationError[] {
  const errors: ValidationError[] = [];
  reader.openList();
  while (reader.nextItem()) {
    const finding = new Field<Finding>(new Finding());
    finding.read(reader);
    const told = finding.value;
    errors.push(new ValidationError(told.path.value, told.code.value, told.message.value));
  }
  return errors;
}

class Finding {
  path: Field<string> = new Field<string>("");
  code: Field<string> = new Field<string>("");
  message: Field<string> = new Field<string>("");

  member(reader: Reader): void {
    if (reader.isNamed("path")) this.path.read(reader);
    else if (reader.isNamed("code")) this.code.read(reader);
    else if (reader.isNamed("message")) this.message.read(reader);
    else reader.skip();
  }
}

class Undone {
  code: Field<string> = new Field<string>("");
  message: Field<string> = new Field<string>("");
  retryable: Field<bool> = new Field<bool>(false);
  wait_ms: Field<u32> = new Field<u32>(0);
  details: string | null = null;

  member(reader: Reader): void {
    if (reader.isNamed("code")) this.code.read(reader);
    else if (reader.isNamed("message")) this.message.read(reader);
    else if (reader.isNamed("retryable")) this.retryable.read(reader);
    else if (reader.isNamed("retry_after_ms")) this.wait_ms.read(reader);
    else if (reader.isNamed("details")) this.details = reader.readJson();
    else reader.skip();
  }
}

function undone(reader: Reader): Outcome {
  const read = new Field<Undone>(new Undone());
  read.read(reader);
  const told = read.value;
  const failed = failure(told.code.value, told.message.value);
  if (told.retryable.value) failed.retryable();
  if (told.wait_ms.given) failed.retryAfter(told.wait_ms.value);
  const details = told.details;
  if (details !== null) failed.details(details);
  return failed;
}

// ---- Calls of the host ----

const NOTHING = "null";

/** The answer to one call, as JSON. */
function answerTo(call: string): Result<string> {
  const reader = new Reader(call);
  reader.openObject();
  reader.nextMember();
  if (reader.isNamed("send")) return send(reader);
  if (reader.isNamed("query")) return query(reader);
  if (reader.isNamed("execute")) return execute(reader);
  if (reader.isNamed("log")) return write(reader);
  if (reader.isNamed("get")) return get(reader);
  if (reader.isNamed("set")) return set(reader);
  if (reader.isNamed("current")) return Result.of<string>(current());
  if (reader.isNamed("try")) return attempt(reader.readJson());
  if (!reader.isNamed("echo")) return Result.end<string>(failure("call", "the call is none of a mirror's"));
  const writer = new Writer();
  echo(reader, writer);
  return Result.of<string>(writer.finish());
}

/** Answers with the host's refusal, which then is not the end. */
function attempt(call: string): Result<string> {
  const answer = answerTo(call);
  if (!answer.failed || !(answer.outcome instanceof Failure)) return answer;
  const refused = answer.outcome as Failure;
  const writer = new Writer().openObject().name("error").openObject();
  writer.name("code").text(refused.code).name("message").text(refused.message);
  return Result.of<string>(writer.closeObject().closeObject().finish());
}

class Request {
  method: Field<string> = new Field<string>("");
  url: Field<string> = new Field<string>("");
  headers: string[][] = [];
  body: Field<string> = new Field<string>("");
  timeout_ms: Field<u32> = new Field<u32>(0);

  member(reader: Reader): void {
    if (reader.isNamed("method")) this.method.read(reader);
    else if (reader.isNamed("url")) this.url.read(reader);
    else if (reader.isNamed("headers")) {
      reader.openList();
      while (reader.nextItem()) this.headers.push(texts(reader));
    } else if (reader.isNamed("body")) this.body.read(reader);
    else if (reader.isNamed("timeout_ms")) this.timeout_ms.read(reader);
    else reader.skip();
  }
}

function send(reader: Reader): Result<string> {
  const read = new Field<Request>(new Request());
  read.read(reader);
  const told = read.value;
  const request = http.request(told.method.value, told.url.value);
  for (let index = 0; index < told.headers.length; index++) request.header(told.headers[index][0], told.headers[index][1]);
  if (told.body.given) request.body(bytes(told.body.value));
  if (told.timeout_ms.given) request.timeout(told.timeout_ms.value);
  const answer = request.send();
  if (answer.failed) return Result.end<string>(answer.outcome);

  const writer = new Writer().openObject().name("status").integer(answer.value.status).name("headers").openList();
  const headers = answer.value.headers;
  for (let index = 0; index < headers.length; index += 2) {
    writer.openList().text(headers[index]).text(headers[index + 1]).closeList();
  }
  writer.closeList().name("body").text(hexadecimal(answer.value.body));
  return Result.of<string>(writer.closeObject().finish());
}

class Statement {
  connection: Field<string> = new Field<string>("");
  sql: Field<string> = new Field<string>("");
  params: db.Params = new db.Params();

  member(reader: Reader): void {
    if (reader.isNamed("connection")) this.connection.read(reader);
    else if (reader.isNamed("sql")) this.sql.read(reader);
    else if (reader.isNamed("params")) {
      reader.openList();
      while (reader.nextItem()) this.params.json(reader.readJson());
    } else reader.skip();
  }

  static read(reader: Reader): Statement {
    const read = new Field<Statement>(new Statement());
    read.read(reader);
    return read.value;
  }
}

function query(reader: Reader): Result<string> {
  const told = Statement.read(reader);
  const rows = db.query(told.connection.value, told.sql.value, told.params);
  if (rows.failed) return rows;
  return Result.of<string>(new Writer().openObject().name("rows").json(rows.value).closeObject().finish());
}

function execute(reader: Reader): Result<string> {
  const told = Statement.read(reader);
  const changed = db.execute(told.connection.value, told.sql.value, told.params);
  if (changed.failed) return Result.end<string>(changed.outcome);
  return Result.of<string>(new Writer().openObject().name("changed").unsigned(changed.value).closeObject().finish());
}

function write(reader: Reader): Result<string> {
  let level = "";
  let message = "";
  const fields = new log.Fields();
  reader.openObject();
  while (reader.nextMember()) {
    if (reader.isNamed("level")) {
      reader.readText();
      level = reader.text;
    } else if (reader.isNamed("message")) {
      reader.readText();
      message = reader.text;
    } else if (reader.isNamed("fields")) {
      reader.openObject();
      while (reader.nextMember()) fields.json(reader.name, reader.readJson());
    } else reader.skip();
  }
  if (level == "debug") log.debug(message, fields);
  else if (level == "info") log.info(message, fields);
  else if (level == "warn") log.warn(message, fields);
  else log.error(message, fields);
  return Result.of<string>(NOTHING);
}

function get(reader: Reader): Result<string> {
  reader.readText();
  const answer = context.get(reader.text);
  if (answer.failed) return Result.end<string>(answer.outcome);
  const value = answer.value;
  const writer = new Writer().openObject();
  if (value !== null) writer.name("value").json(value);
  return Result.of<string>(writer.closeObject().finish());
}

function set(reader: Reader): Result<string> {
  let key = "";
  let value = "";
  reader.openObject();
  while (reader.nextMember()) {
    if (reader.isNamed("key")) {
      reader.readText();
      key = reader.text;
    } else if (reader.isNamed("value")) value = reader.readJson();
    else reader.skip();
  }
  const ending = context.set(key, value);
  return ending === null ? Result.of<string>(NOTHING) : Result.end<string>(ending);
}

/** What the execution is; of what is another in each call, how long it is. */
function current(): string {
  const now = context.current();
  const writer = new Writer().openObject();
  writer.name("execution_id_bytes").integer(String.UTF8.byteLength(now.executionId));
  writer.name("module").text(now.module).name("version").text(now.version).name("function").text(now.function);
  optional(writer.name("job"), now.job);
  optional(writer.name("run_id"), now.runId);
  optional(writer.name("step_id"), now.stepId);
  writer.name("attempt").unsigned(now.attempt);
  writer.name("idempotency_key_bytes").integer(String.UTF8.byteLength(now.idempotencyKey));
  return writer.closeObject().finish();
}

function optional(writer: Writer, text: string | null): void {
  if (text === null) writer.nothing();
  else writer.text(text);
}

// ---- Values ----

/** Reads a value to the last, and writes it once more. */
function echo(reader: Reader, writer: Writer): void {
  switch (reader.kind) {
    case Kind.Object:
      reader.openObject();
      writer.openObject();
      while (reader.nextMember()) echo(reader, writer.name(reader.name));
      writer.closeObject();
      break;
    case Kind.List:
      reader.openList();
      writer.openList();
      while (reader.nextItem()) echo(reader, writer);
      writer.closeList();
      break;
    case Kind.Text:
      reader.readText();
      writer.text(reader.text);
      break;
    case Kind.Bool:
      reader.readBool();
      writer.bool(reader.bool);
      break;
    case Kind.Number:
      echoNumber(reader.readJson(), writer);
      break;
    default:
      reader.skip();
      writer.nothing();
  }
}

function echoNumber(number: string, writer: Writer): void {
  const signed = new Reader(number);
  if (signed.readInteger() == State.Given) {
    writer.integer(signed.integer);
    return;
  }
  const unsigned = new Reader(number);
  if (unsigned.readUnsigned() == State.Given) {
    writer.unsigned(unsigned.unsigned);
    return;
  }
  const float = new Reader(number);
  float.readFloat();
  writer.float(float.float);
}

function texts(reader: Reader): string[] {
  const texts: string[] = [];
  reader.openList();
  while (reader.nextItem()) {
    reader.readText();
    texts.push(reader.text);
  }
  return texts;
}

function hexadecimal(bytes: Uint8Array): string {
  const units = new StaticArray<u16>(bytes.length * 2);
  for (let index = 0; index < bytes.length; index++) {
    units[2 * index] = digit(bytes[index] >> 4);
    units[2 * index + 1] = digit(bytes[index] & 15);
  }
  return String.UTF16.decodeUnsafe(changetype<usize>(units), <usize>units.length << 1);
}

function digit(value: u8): u16 {
  return value + (value < 10 ? 0x30 : 0x57);
}

function bytes(digits: string): Uint8Array {
  const bytes = new Uint8Array(digits.length >> 1);
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = u8((valueOf(digits.charCodeAt(2 * index)) << 4) | valueOf(digits.charCodeAt(2 * index + 1)));
  }
  return bytes;
}

function valueOf(digit: i32): i32 {
  return digit >= 0x61 ? digit - 0x57 : digit - 0x30;
}
