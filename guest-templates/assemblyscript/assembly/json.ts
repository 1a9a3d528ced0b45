// Reading JSON (RFC 8259) from front to back, without recursion and without a tree. Writing it is in `writer`.
//
// Knows nothing of steps. Invariant: no text makes it trap or overflow the stack, and it takes and refuses what the Rust
// template's serde_json does.

import { nearest } from "./float";

/** What a value was. */
export enum State {
  /** Not there, or null. */
  Missing,
  /** Of another JSON type than was asked for. */
  Malformed,
  Given,
}

/** The JSON type of a value. */
export enum Kind {
  /** There is none: the text is over, or no JSON. */
  None,
  Null,
  Bool,
  Number,
  Text,
  List,
  Object,
}

/**
 * One value as the caller sent it, so that a wrong type costs this value only and all mistakes can be told at once.
 *
 * `T` is `string`, `bool`, `f64`, an integer type, or a class with a method `member(reader: Reader): void` that reads or
 * skips one member of an object. An integer is one that is written without fraction and exponent, and fits.
 */
export class Field<T> {
  state: State = State.Missing;
  private seen: bool = false;

  constructor(
    /** Only of meaning where `state` is `Given`. */
    public value: T,
  ) {}

  get given(): bool {
    return this.state == State.Given;
  }

  /** Reads the next value. A second one is a member that came twice, which leaves open what was meant: no text for us. */
  read(reader: Reader): void {
    if (this.seen) {
      reader.refuse();
      return;
    }
    this.seen = true;
    if (isString<T>()) {
      this.state = reader.readText();
      if (this.given) this.value = <T>reader.text;
    } else if (isBoolean<T>()) {
      this.state = reader.readBool();
      if (this.given) this.value = <T>reader.bool;
    } else if (isFloat<T>()) {
      this.state = reader.readFloat();
      if (this.given) this.value = <T>reader.float;
    } else if (isInteger<T>() && sizeof<T>() == 8 && !isSigned<T>()) {
      this.state = reader.readUnsigned();
      if (this.given) this.value = <T>reader.unsigned;
    } else if (isInteger<T>()) {
      this.state = reader.readInteger();
      if (!this.given) return;
      this.value = <T>reader.integer;
      const fits = <i64>this.value == reader.integer && (isSigned<T>() || reader.integer >= 0);
      if (!fits) this.state = State.Malformed;
    } else {
      this.state = reader.openObject();
      if (this.given) while (reader.nextMember()) this.value.member(reader);
    }
  }

  /** As it was made, but for the value: to be read once more. */
  clear(): void {
    this.state = State.Missing;
    this.seen = false;
  }
}

const QUOTE: i32 = 0x22;
const COMMA: i32 = 0x2c;
const MINUS: i32 = 0x2d;
const DOT: i32 = 0x2e;
const ZERO: i32 = 0x30;
const COLON: i32 = 0x3a;
const OPEN_LIST: i32 = 0x5b;
const BACKSLASH: i32 = 0x5c;
const CLOSE_LIST: i32 = 0x5d;
const OPEN_OBJECT: i32 = 0x7b;
const CLOSE_OBJECT: i32 = 0x7d;

/** What stands where the text is over. */
const END: i32 = -1;

/**
 * Reads a text from front to back. Open an object or a list, and read or skip each value until `nextMember` or `nextItem`
 * says that there are no more. A text that is no JSON shows at the end: `end` says so, `line` and `column` where.
 */
export class Reader {
  /** What the last reading of such a value gave. */
  text: string = "";
  integer: i64 = 0;
  unsigned: u64 = 0;
  float: f64 = 0;
  bool: bool = false;
  private at: i32 = 0;
  private length: i32;
  /** Nothing of the innermost object or list was read so far. */
  private fresh: bool = false;
  /** A name was read, and not yet its colon. */
  private named: bool = false;
  /** The last string: where it starts and ends, and how many units it has without its escapes. */
  private start: i32 = 0;
  private stop: i32 = 0;
  private units: i32 = 0;
  /** The objects and lists around a value that is skipped: true for an object. */
  private around: bool[] = [];
  /** The last number: whether it had no fraction and no exponent, and its value as `significand * 10 ** exponent`. */
  private whole: bool = false;
  private significand: u64 = 0;
  private exponent: i32 = 0;
  /** Whether all of its digits are in `significand`. */
  private exact: bool = false;
  private brokenAt: i32 = -1;
  /** The bytes behind `brokenAt` that still were looked at. */
  private brokenAhead: i32 = 0;

  constructor(private source: string) {
    this.length = source.length;
  }

  /** Whether the whole text was one JSON value, all of which has been read. */
  end(): bool {
    if (this.peekPastSpace() != END) this.fail(1);
    return this.brokenAt < 0;
  }

  /** Where the text is no JSON, or not what was asked for. Lines count from 1, columns are bytes. */
  get line(): i32 {
    let line = 1;
    for (let at = 0; at < this.brokenAt; at++) if (this.unit(at) == 0x0a) line++;
    return line;
  }

  get column(): i32 {
    let start = this.brokenAt;
    while (start > 0 && this.unit(start - 1) != 0x0a) start--;
    return String.UTF8.byteLength(this.source.substring(start, this.brokenAt)) + this.brokenAhead;
  }

  /** Ends the reading: the text is JSON, and yet nothing that can be used. */
  refuse(): void {
    this.peekPastSpace();
    this.fail(0);
  }

  openObject(): State {
    return this.open(OPEN_OBJECT);
  }

  openList(): State {
    return this.open(OPEN_LIST);
  }

  /** Goes to the next member of the object. Look at its name, then read or skip its value. */
  nextMember(): bool {
    if (!this.next(CLOSE_OBJECT)) return false;
    if (this.peek() != QUOTE) return this.fail(1);
    if (!this.string(true)) return false;
    this.named = true;
    return true;
  }

  /** Whether the member that `nextMember` came to has this name. */
  isNamed(name: string): bool {
    if (this.units != name.length) return false;
    if (this.units < this.stop - this.start) return this.name == name;
    // Made for each member, the names would be most of the memory that reading takes.
    return !memory.compare(this.address(this.start), changetype<usize>(name), (<usize>this.units) << 1);
  }

  /** The name of the member that `nextMember` came to. */
  get name(): string {
    return this.decode();
  }

  /** Goes to the next value of the list, which is to be read or skipped. */
  nextItem(): bool {
    return this.next(CLOSE_LIST);
  }

  /** What the next value is, which is still to be read or skipped. */
  get kind(): Kind {
    const first = this.startOfValue();
    if (isNumber(first)) return Kind.Number;
    switch (first) {
      case QUOTE:
        return Kind.Text;
      case OPEN_OBJECT:
        return Kind.Object;
      case OPEN_LIST:
        return Kind.List;
      case 0x74:
      case 0x66:
        return Kind.Bool;
      case 0x6e:
        return Kind.Null;
      default:
        return Kind.None;
    }
  }

  readText(): State {
    if (this.startOfValue() != QUOTE) return this.other();
    if (!this.string(true)) return State.Malformed;
    this.text = this.decode();
    return State.Given;
  }

  readBool(): State {
    const first = this.startOfValue();
    if (first != 0x74 && first != 0x66) return this.other();
    this.bool = first == 0x74;
    return this.word(this.bool ? "true" : "false") ? State.Given : State.Malformed;
  }

  /** An integer is exact. 1.0, 1e2 and -0 are none, and none is what i64 can't hold. */
  readInteger(): State {
    if (!isNumber(this.startOfValue())) return this.other();
    return this.number() ? State.Given : State.Malformed;
  }

  /** The same for what u64 can hold. */
  readUnsigned(): State {
    const first = this.startOfValue();
    if (!isNumber(first)) return this.other();
    this.number();
    this.unsigned = this.significand;
    return this.whole && first != MINUS ? State.Given : State.Malformed;
  }

  readFloat(): State {
    if (!isNumber(this.startOfValue())) return this.other();
    const start = this.at;
    this.number();
    if (this.brokenAt < 0) {
      this.float = nearest(this.source.substring(start, this.at), this.significand, this.exponent, this.exact);
    }
    return this.brokenAt < 0 ? State.Given : State.Malformed;
  }

  /** Any value, as the text that it is. */
  readJson(): string {
    this.startOfValue();
    const start = this.at;
    this.skip();
    return this.source.substring(start, this.at);
  }

  /** Goes past a value, however deep. Of its strings and numbers only the form is looked at. */
  skip(): void {
    const around = this.around;
    for (;;) {
      const first = this.startOfValue();
      const object = first == OPEN_OBJECT;
      if (object || first == OPEN_LIST) {
        this.at++;
        around.push(object);
        this.fresh = true;
      } else if (!this.skipScalar(first)) return;
      // To the next value: out of all that ends here, and past the name in an object.
      for (;;) {
        if (!around.length) return;
        const inObject = around[around.length - 1];
        if (this.next(inObject ? CLOSE_OBJECT : CLOSE_LIST)) {
          if (inObject && !this.skipName()) return;
          break;
        }
        if (this.brokenAt >= 0) return;
        around.pop();
      }
    }
  }

  private skipName(): bool {
    if (this.peek() != QUOTE) return this.fail(1);
    this.named = true;
    return this.string(false);
  }

  private skipScalar(first: i32): bool {
    if (first == QUOTE) return this.string(false);
    if (isNumber(first)) return this.digits();
    if (first == 0x6e) return this.word("null");
    if (first == 0x74) return this.word("true");
    if (first == 0x66) return this.word("false");
    return this.fail(1);
  }

  /** Enters an object or a list. Any other value is gone past. */
  private open(bracket: i32): State {
    if (this.startOfValue() != bracket) return this.other();
    this.at++;
    this.fresh = true;
    return State.Given;
  }

  /** Goes past a value of another type than was asked for, which is looked at as if it had been. */
  private other(): State {
    const first = this.startOfValue();
    if (first == 0x6e) return this.word("null") ? State.Missing : State.Malformed;
    if (first == QUOTE) this.string(true);
    else if (isNumber(first)) this.number();
    else if (first == OPEN_OBJECT) {
      this.openObject();
      while (this.nextMember()) this.skip();
    } else if (first == OPEN_LIST) {
      this.openList();
      while (this.nextItem()) this.skip();
    } else this.skipScalar(first);
    return State.Malformed;
  }

  /** Past a comma to the next value or name, or past the closing bracket. */
  private next(bracket: i32): bool {
    let unit = this.peekPastSpace();
    if (unit == bracket) {
      this.at++;
      this.fresh = false;
      return false;
    }
    if (!this.fresh) {
      if (unit != COMMA) return this.fail(1);
      this.at++;
      unit = this.peekPastSpace();
    }
    this.fresh = false;
    if (unit == END || unit == bracket) return this.fail(1);
    return true;
  }

  /** The first unit of the next value. */
  private startOfValue(): i32 {
    if (this.named) {
      this.named = false;
      if (this.peekPastSpace() != COLON) {
        this.fail(1);
        return END;
      }
      this.at++;
    }
    return this.peekPastSpace();
  }

  private word(word: string): bool {
    for (let index = 0; index < word.length; index++) {
      if (this.take() != word.charCodeAt(index)) return this.fail(0);
    }
    return true;
  }

  /** Goes past a string. One that is to be read has its surrogates in pairs. */
  private string(paired: bool): bool {
    this.at++;
    this.start = this.at;
    this.units = 0;
    for (;;) {
      const from = this.at;
      // Most of a text is here, so nothing is called for it.
      let at = from;
      while (at < this.length && !isSpecial(this.unit(at))) at++;
      this.at = at;
      this.units += at - from;
      const unit = this.take();
      if (unit == QUOTE) break;
      if (unit != BACKSLASH || !this.escape(paired)) return this.fail(0);
    }
    this.stop = this.at - 1;
    return true;
  }

  /** Goes past what is behind a backslash. Whether it stands for a unit, or for two. */
  private escape(paired: bool): bool {
    this.units++;
    const letter = this.take();
    if (letter != 0x75) return unescaped(letter) >= 0;
    const unit = this.hex();
    if (!paired || unit < 0xd800 || unit > 0xdfff) return unit >= 0;
    if (unit >= 0xdc00 || this.take() != BACKSLASH || this.take() != 0x75) return false;
    this.units++;
    const second = this.hex();
    return second >= 0xdc00 && second <= 0xdfff;
  }

  /** The four digits behind `\u`; -1 where there are none. */
  private hex(): i32 {
    let unit = 0;
    let good = true;
    for (let index = 0; index < 4; index++) {
      const digit = this.take();
      const letter = digit | 0x20;
      unit <<= 4;
      if (isDigit(digit)) unit |= digit - ZERO;
      else if (letter >= 0x61 && letter <= 0x66) unit |= letter - 0x57;
      else good = false;
    }
    return good ? unit : -1;
  }

  /** The last string, without its escapes. */
  private decode(): string {
    const units = this.units;
    if (units == this.stop - this.start) return this.source.substring(this.start, this.stop);
    const text = __new((<usize>units) << 1, idof<string>());
    const end = this.at;
    this.at = this.start;
    for (let index = 0; index < units; index++) {
      let unit = this.take();
      if (unit == BACKSLASH) {
        unit = this.take();
        unit = unit == 0x75 ? this.hex() : unescaped(unit);
      }
      store<u16>(text + ((<usize>index) << 1), <u16>unit);
    }
    this.at = end;
    return changetype<string>(text);
  }

  /** Reads a number, and refuses one past the range of f64. Whether it is an integer, which then is in `integer`. */
  private number(): bool {
    const negative = this.peek() == MINUS;
    if (!this.digits()) return false;
    if (!this.whole) return isInfinite(this.significand, this.exponent) && this.fail(0);
    this.integer = negative ? 0 - <i64>this.significand : <i64>this.significand;
    // Zero has no sign in i64, so -0 is none of its numbers.
    return negative ? this.integer < 0 : this.integer >= 0;
  }

  /** Goes past a number. Whether it was one. */
  private digits(): bool {
    if (this.peek() == MINUS) this.at++;
    this.significand = 0;
    this.exponent = 0;
    this.exact = true;
    const first = this.peek();
    if (!isDigit(first)) {
      this.take();
      return this.fail(0);
    }
    this.digit();
    if (first == ZERO && isDigit(this.peek())) return this.fail(1);
    while (isDigit(this.peek())) if (!this.digit()) this.exponent++;
    this.whole = this.exact;
    return (this.peek() != DOT || this.fraction()) && ((this.peek() | 0x20) != 0x65 || this.power());
  }

  /** Takes a digit. Whether it counts: once one doesn't fit, none behind it does. */
  private digit(): bool {
    const digit = this.take() - ZERO;
    this.exact = this.exact && fits(this.significand, digit);
    if (this.exact) this.significand = this.significand * 10 + digit;
    return this.exact;
  }

  private fraction(): bool {
    this.at++;
    this.whole = false;
    if (!isDigit(this.peek())) return this.fail(1);
    while (isDigit(this.peek())) if (this.digit()) this.exponent--;
    return true;
  }

  private power(): bool {
    this.at++;
    this.whole = false;
    const sign = this.peek();
    if (sign == MINUS || sign == 0x2b) this.at++;
    let power = this.take() - ZERO;
    if (<u32>power > 9) return this.fail(0);
    while (isDigit(this.peek())) {
      const digit = this.take() - ZERO;
      // Far past any number, and far from the end of i32.
      if (power < 100_000_000) power = power * 10 + digit;
    }
    this.exponent += sign == MINUS ? -power : power;
    return true;
  }

  private peekPastSpace(): i32 {
    for (; this.at < this.length; this.at++) {
      const unit = this.unit(this.at);
      if (unit > 0x20 || (unit != 0x20 && unit != 0x0a && unit != 0x0d && unit != 0x09)) return unit;
    }
    return END;
  }

  private peek(): i32 {
    return this.at < this.length ? this.unit(this.at) : END;
  }

  private take(): i32 {
    return this.at < this.length ? this.unit(this.at++) : END;
  }

  // @ts-ignore: decorator
  @inline
  private unit(at: i32): i32 {
    return load<u16>(this.address(at));
  }

  // @ts-ignore: decorator
  @inline
  private address(at: i32): usize {
    return changetype<usize>(this.source) + ((<usize>at) << 1);
  }

  /** Only the first mistake counts. All that is read after it finds the end of the text. Always false. */
  private fail(ahead: i32): bool {
    if (this.brokenAt < 0) {
      this.brokenAt = this.at;
      this.brokenAhead = this.at < this.length ? ahead : 0;
      this.at = this.length;
    }
    return false;
  }
}

function isDigit(unit: i32): bool {
  return <u32>(unit - ZERO) < 10;
}

/** What ends a string, starts an escape, or must not be in one. */
// @ts-ignore: decorator
@inline
function isSpecial(unit: i32): bool {
  return unit == QUOTE || unit == BACKSLASH || unit < 0x20;
}

function isNumber(first: i32): bool {
  return first == MINUS || isDigit(first);
}

/** Whether u64 holds one more digit. */
function fits(significand: u64, digit: i32): bool {
  const most = u64.MAX_VALUE / 10;
  return significand < most || (significand == most && <u64>digit <= u64.MAX_VALUE % 10);
}

function isInfinite(significand: u64, exponent: i32): bool {
  if (significand == 0 || exponent < 0) return false;
  if (exponent > 308) return true;
  let value = <f64>significand;
  while (exponent--) value *= 10;
  return value == f64.POSITIVE_INFINITY;
}

/** What a backslash makes of the unit behind it; -1 where there is no such escape. */
function unescaped(unit: i32): i32 {
  switch (unit) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f:
      return unit;
    case 0x62:
      return 0x08;
    case 0x66:
      return 0x0c;
    case 0x6e:
      return 0x0a;
    case 0x72:
      return 0x0d;
    case 0x74:
      return 0x09;
    default:
      return -1;
  }
}
