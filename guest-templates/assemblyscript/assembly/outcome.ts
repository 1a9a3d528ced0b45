// How a step ends: the variant `outcome`, and the results of calls that may end a step. Authors get it through `sluice`.

import { PAIR_BYTES, storeOptionalText, storePair, storeText, storeTexts, take } from "./abi";
import { Reader } from "./json";

/** How a step ended: `completed`, `invalid` or `failure` makes one. */
export abstract class Outcome {
  /** Puts the variant `outcome` to `at`. */
  abstract lower(at: usize): void;
}

/** Of the variant `outcome`, whose largest case is `failed`. */
const OUTCOME_BYTES: usize = 44;

/** The outcome in memory, until `release`. */
export function lowered(outcome: Outcome): usize {
  const at = take(OUTCOME_BYTES);
  outcome.lower(at);
  return at;
}

/** The step did its work. */
export class Completed extends Outcome {
  constructor(
    /** One JSON document. */
    private output: string,
    private next: string[] | null,
  ) {
    super();
  }

  lower(at: usize): void {
    store<u8>(at, 0);
    storeText(at + 4, this.output);
    const next = this.next;
    if (next === null) return;
    store<u8>(at, 1, 12);
    storeTexts(at + 16, next);
  }
}

/** One value that is wrong. */
export class ValidationError {
  constructor(
    /** A JSON Pointer (RFC 6901) to the value. */
    readonly path: string,
    /** Stable and machine-readable: `required`, `out-of-range`. */
    readonly code: string,
    /** For people. */
    readonly message: string,
  ) {}
}

/** The data are wrong: the job fails with these errors, and is not retried. */
export class Invalid extends Outcome {
  constructor(readonly errors: ValidationError[]) {
    super();
  }

  lower(at: usize): void {
    const errors = this.errors;
    const list = take(<usize>errors.length * 3 * PAIR_BYTES);
    for (let index = 0; index < errors.length; index++) {
      const record = list + <usize>index * 3 * PAIR_BYTES;
      storeText(record, errors[index].path);
      storeText(record + PAIR_BYTES, errors[index].code);
      storeText(record + 2 * PAIR_BYTES, errors[index].message);
    }
    store<u8>(at, 1);
    storePair(at + 4, list, errors.length);
  }
}

/** The work could not be done, and another attempt will not mend it unless the methods say so. */
export class Failure extends Outcome {
  private mayPass: bool = false;
  /** Below 0: not known. */
  private wait: i64 = -1;
  private more: string | null = null;

  constructor(
    readonly code: string,
    readonly message: string,
  ) {
    super();
  }

  /** Another attempt may succeed, when the retry policy says so. */
  retryable(): Failure {
    this.mayPass = true;
    return this;
  }

  /** Another attempt may succeed, and not before so many milliseconds. */
  retryAfter(wait_ms: u32): Failure {
    this.wait = wait_ms;
    return this.retryable();
  }

  /** Anything more that helps whoever reads it, as JSON. */
  details(json: string): Failure {
    this.more = json;
    return this;
  }

  lower(at: usize): void {
    store<u8>(at, 2);
    storeText(at + 4, this.code);
    storeText(at + 12, this.message);
    store<u8>(at, u8(this.mayPass), 20);
    if (this.wait >= 0) {
      store<u8>(at, 1, 24);
      store<u32>(at, <u32>this.wait, 28);
    }
    storeOptionalText(at + 32, this.more);
  }
}

/**
 * The output (JSON) is merged into the data of the job. `next` names the steps to run next, and no others: none at all ends
 * the job here. Without it what runs next is as the job is defined.
 */
export function completed(output: string, next: string[] | null = null): Outcome {
  return new Completed(output, next);
}

export function invalid(errors: ValidationError[]): Outcome {
  return new Invalid(errors);
}

export function invalidValue(path: string, code: string, message: string): Outcome {
  return new Invalid([new ValidationError(path, code, message)]);
}

/** What to answer when `reader.end()` says that the input was not one JSON text. */
export function malformed(reader: Reader): Outcome {
  const place = "line " + reader.line.toString() + " column " + reader.column.toString();
  return invalidValue("", "malformed", "not what the step reads, at " + place);
}

export function failure(code: string, message: string): Failure {
  return new Failure(code, message);
}

/**
 * A value, or how the step ends because there is none. AssemblyScript has no exceptions, so ask before the value is used:
 * `if (answer.failed) return answer.outcome;`
 */
export class Result<T> {
  private constructor(
    private found: T,
    private ending: Outcome | null,
  ) {}

  static of<T>(value: T): Result<T> {
    return new Result<T>(value, null);
  }

  static end<T>(outcome: Outcome): Result<T> {
    // Nobody sees this value: `value` looks first.
    const none: T = isReference<T>() ? changetype<T>(<usize>0) : <T>0;
    return new Result<T>(none, outcome);
  }

  get failed(): bool {
    return this.ending !== null;
  }

  /** How the step ends; only where it failed. */
  get outcome(): Outcome {
    const ending = this.ending;
    if (ending === null) throw new Error("the outcome of a result that did not fail");
    return ending;
  }

  get value(): T {
    if (this.failed) throw new Error("the value of a result that failed");
    return this.found;
  }
}
