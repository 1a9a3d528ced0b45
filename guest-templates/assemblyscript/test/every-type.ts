// A step for `glue.test.mjs`: what it does with every type of the world is written to its output.

import { release, takeText } from "../assembly/abi";
import { Reader } from "../assembly/json";
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
  lowered,
} from "../assembly/sluice";
import { Writer, quote } from "../assembly/writer";

export { cabi_realloc } from "../assembly/abi";

export function run(input: usize, inputBytes: usize): usize {
  return lowered(step(takeText(input, inputBytes)));
}

export function cabi_post_run(_outcome: usize): void {
  release();
}

/** The input is a list: what to do, and its arguments, all as texts. */
function step(input: string): Outcome {
  const reader = new Reader(input);
  const args: string[] = [];
  reader.openList();
  while (reader.nextItem()) {
    reader.readText();
    args.push(reader.text);
  }
  if (!reader.end()) return failure("test", "the input is no list of texts");
  const what = args.shift();
  if (what == "completed") return completed(args[0]);
  if (what == "then") return completed("null", args);
  if (what == "invalid") return invalidOf(args);
  if (what == "failure") return failure(args[0], args[1]);
  if (what == "failure with all") return failure(args[0], args[1]).retryAfter(u32.MAX_VALUE).details(args[2]);
  if (what == "failure at once") return failure("a", "b").retryAfter(0);
  if (what == "log") return logged(args);
  if (what == "current") return current();
  if (what == "get") return texts(context.get(args[0]));
  if (what == "get text") return texts(context.getText(args[0]));
  if (what == "set") {
    const ending = context.set(args[0], args[1]);
    return ending === null ? completed("true") : ending;
  }
  if (what == "http") return exchange(args, false);
  if (what == "http with all") return exchange(args, true);
  if (what == "http json") {
    const answer = http.get("https://example.com/").send();
    return answer.failed ? answer.outcome : json(answer.value.json());
  }
  if (what == "query")
    return json(db.query(args[0], args[1], new db.Params().text(args[2]).integer(i64.MIN_VALUE).json("null")));
  if (what == "execute") {
    const changed = db.execute(args[0], args[1], new db.Params());
    return changed.failed ? changed.outcome : completed(changed.value.toString());
  }
  if (what == "go on") {
    const rows = db.query("shop", "select 1", new db.Params());
    const goesOn = rows.failed && rows.outcome instanceof Failure && (rows.outcome as Failure).code == args[0];
    return completed(goesOn ? "true" : "false");
  }
  if (what == "halves") return completed(quote(args[0].charAt(0) + " and " + args[0].charAt(1)));
  if (what == "abort") assert(false, args[0]);
  if (what == "index") return completed(args[7]);
  if (what == "misuse")
    return completed(context.set("a", "1") === null ? db.query("a", "b", new db.Params()).value : "0");
  if (what == "large output") {
    const writer = new Writer().openList();
    for (let index = 0; index < 100_000; index++) writer.text("zwölf größe");
    return completed(writer.closeList().finish());
  }
  return failure("test", "unknown");
}

function invalidOf(paths: string[]): Outcome {
  const errors: ValidationError[] = [];
  for (let index = 0; index < paths.length; index++) errors.push(new ValidationError(paths[index], "code", "ü"));
  return invalid(errors);
}

function logged(args: string[]): Outcome {
  log.debug(args[0]);
  log.info(args[0], new log.Fields());
  log.warn(args[0], new log.Fields().text(args[1], args[2]).integer("integer", i64.MIN_VALUE));
  log.error(args[0], new log.Fields().unsigned("unsigned", u64.MAX_VALUE).bool("bool", true).json("json", "[1]"));
  return completed("null");
}

function current(): Outcome {
  const now = context.current();
  const writer = new Writer().openList().text(now.executionId).text(now.module).text(now.version).text(now.function);
  optional(writer, now.job);
  optional(writer, now.runId);
  optional(writer, now.stepId);
  return completed(writer.integer(now.attempt).text(now.idempotencyKey).closeList().finish());
}

function optional(writer: Writer, text: string | null): void {
  if (text === null) writer.nothing();
  else writer.text(text);
}

function texts(answer: Result<string | null>): Outcome {
  if (answer.failed) return answer.outcome;
  const writer = new Writer().openList();
  optional(writer, answer.value);
  return completed(writer.closeList().finish());
}

function json(answer: Result<string>): Outcome {
  return answer.failed ? answer.outcome : completed(answer.value);
}

function exchange(args: string[], all: bool): Outcome {
  const request = http.request(args[0], args[1]);
  if (all) request.header("a", "1").header("b", "").json(args[2]).timeout(u32.MAX_VALUE);
  const answer = request.send();
  if (answer.failed) return answer.outcome;
  const writer = new Writer().openList().integer(answer.value.status);
  const headers = answer.value.headers;
  for (let index = 0; index < headers.length; index++) writer.text(headers[index]);
  writer.integer(answer.value.body.length);
  for (let index = 0; index < min(answer.value.body.length, 4); index++) writer.integer(answer.value.body[index]);
  return completed(writer.closeList().finish());
}
