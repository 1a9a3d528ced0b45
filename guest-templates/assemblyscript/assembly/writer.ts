// Writing JSON (RFC 8259). Reading it is in `json`.

const QUOTE: i32 = 0x22;
const COMMA: i32 = 0x2c;
const ZERO: i32 = 0x30;
const COLON: i32 = 0x3a;
const OPEN_LIST: i32 = 0x5b;
const BACKSLASH: i32 = 0x5c;
const CLOSE_LIST: i32 = 0x5d;
const OPEN_OBJECT: i32 = 0x7b;
const CLOSE_OBJECT: i32 = 0x7d;

/**
 * Writes a value from front to back: `new Writer().openObject().name("id").text(id).closeObject().finish()`.
 * Commas come by themselves; that brackets match, and that names stand in objects, is up to who calls.
 */
export class Writer {
  private buffer: string = "";
  private capacity: i32 = 0;
  private length: i32 = 0;
  /** A value stands before, so that the next one needs a comma. */
  private comma: bool = false;

  openObject(): Writer {
    return this.opening(OPEN_OBJECT);
  }

  closeObject(): Writer {
    return this.closing(CLOSE_OBJECT);
  }

  openList(): Writer {
    return this.opening(OPEN_LIST);
  }

  closeList(): Writer {
    return this.closing(CLOSE_LIST);
  }

  name(name: string): Writer {
    this.text(name);
    this.unit(COLON);
    this.comma = false;
    return this;
  }

  text(text: string): Writer {
    this.before();
    this.unit(QUOTE);
    // Pieces without an escape are copied whole.
    let start = 0;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit >= 0x20 && unit != QUOTE && unit != BACKSLASH) continue;
      this.raw(text, start, index);
      start = index + 1;
      this.unit(BACKSLASH);
      const letter = escapeOf(unit);
      if (letter) this.unit(letter);
      else {
        this.raw("u00", 0, 3);
        this.unit(ZERO + (unit >> 4));
        this.unit((unit & 15) + ((unit & 15) < 10 ? ZERO : 0x57));
      }
    }
    this.raw(text, start, text.length);
    this.unit(QUOTE);
    return this;
  }

  integer(integer: i64): Writer {
    return this.json(integer.toString());
  }

  unsigned(integer: u64): Writer {
    return this.json(integer.toString());
  }

  /** What is no number in JSON is written as null. */
  float(float: f64): Writer {
    if (!isFinite(float)) return this.nothing();
    // AssemblyScript writes no sign of a zero.
    return this.json(float == 0 && reinterpret<u64>(float) ? "-0.0" : float.toString());
  }

  bool(bool: bool): Writer {
    return this.json(bool ? "true" : "false");
  }

  nothing(): Writer {
    return this.json("null");
  }

  /** A value that is JSON already. */
  json(json: string): Writer {
    this.before();
    this.raw(json, 0, json.length);
    return this;
  }

  /** What was written. The writer then is as new. */
  finish(): string {
    if (!this.length) return "";
    const text = changetype<string>(__renew(changetype<usize>(this.buffer), (<usize>this.length) << 1));
    this.buffer = "";
    this.capacity = 0;
    this.length = 0;
    this.comma = false;
    return text;
  }

  private opening(bracket: i32): Writer {
    this.before();
    this.unit(bracket);
    this.comma = false;
    return this;
  }

  private closing(bracket: i32): Writer {
    this.unit(bracket);
    this.comma = true;
    return this;
  }

  private before(): void {
    if (this.comma) this.unit(COMMA);
    this.comma = true;
  }

  private unit(unit: i32): void {
    this.reserve(1);
    store<u16>(changetype<usize>(this.buffer) + ((<usize>this.length) << 1), <u16>unit);
    this.length++;
  }

  private raw(text: string, start: i32, end: i32): void {
    const units = end - start;
    this.reserve(units);
    memory.copy(
      changetype<usize>(this.buffer) + ((<usize>this.length) << 1),
      changetype<usize>(text) + ((<usize>start) << 1),
      (<usize>units) << 1,
    );
    this.length += units;
  }

  /** Twice as much each time, so that each unit is copied a bounded number of times however long the text gets. */
  private reserve(units: i32): void {
    const needed = this.length + units;
    if (needed <= this.capacity) return;
    const capacity = max(128, max(needed, this.capacity * 2));
    const buffer = __new((<usize>capacity) << 1, idof<string>());
    memory.copy(buffer, changetype<usize>(this.buffer), (<usize>this.length) << 1);
    this.buffer = changetype<string>(buffer);
    this.capacity = capacity;
  }
}

/** A text as a JSON string. */
export function quote(text: string): string {
  return new Writer().text(text).finish();
}

/** What is one of the escapes with a letter, else 0. */
function escapeOf(unit: i32): i32 {
  switch (unit) {
    case QUOTE:
    case BACKSLASH:
      return unit;
    case 0x08:
      return 0x62;
    case 0x0c:
      return 0x66;
    case 0x0a:
      return 0x6e;
    case 0x0d:
      return 0x72;
    case 0x09:
      return 0x74;
    default:
      return 0;
  }
}
