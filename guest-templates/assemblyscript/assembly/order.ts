// What makes an order acceptable, and what it is worth.
//
// Pure rules, which `npm test` runs on the author's own machine. Makes no call of the gateway.
// Invariant: total over all JSON. A value of the wrong type is a finding at its path, never the end of the check, and sums
// are checked. The lines of an order are judged while they are read, and none is kept: an order may be large.

import { Field, Reader, State } from "./json";
import { ValidationError } from "./outcome";

/** Orders of this total and above are looked at by a person. */
const REVIEW_CENTS: u64 = 100_000;
const STANDARD_CENTS: u64 = 10_000;
/** Above, it is a typing error or a reseller, who has another way to order. */
const QUANTITY_MAX: i64 = 10_000;
/** The width of the id columns of the shop's database. */
const ID_BYTES_MAX: i32 = 64;
/** The longest address that SMTP can carry (RFC 5321, 4.5.3.1.3). */
const EMAIL_BYTES_MAX: i32 = 254;
/** The longest that the printers of vouchers take. */
const COUPON_BYTES_MAX: i32 = 32;
/** Nobody mends more than these at a time, and a hostile order can't make the answer larger than itself. */
const FINDINGS_MAX: i32 = 100;

const REQUIRED = "required";
const MALFORMED = "malformed";
const OUT_OF_RANGE = "out-of-range";

/** What the step is called with. */
export class Call {
  private order: Field<Order> = new Field<Order>(new Order());

  /** Reads the input, and checks every rule. Null when the text is no JSON: then `reader` says where. */
  static read(reader: Reader): Order | null {
    const input = new Field<Call>(new Call());
    input.read(reader);
    if (!reader.end()) return null;
    const call = input.value;
    const order = call.order.value;
    if (order.findings.required(input.state, "") && order.findings.required(call.order.state, "/order")) order.check();
    return order;
  }

  member(reader: Reader): void {
    if (reader.isNamed("order")) this.order.read(reader);
    else reader.skip();
  }
}

/** The findings so far, the first hundred of them. */
class Findings {
  readonly list: ValidationError[] = [];
  /** The line of the order that paths are in, if any. They are made for what is wrong only. */
  line: i32 = -1;

  add(path: string, code: string, message: string): void {
    const full = this.line < 0 ? path : "/order/items/" + this.line.toString() + path;
    this.push(new ValidationError(full, code, message));
  }

  push(finding: ValidationError): void {
    if (!this.full) this.list.push(finding);
  }

  get full(): bool {
    return this.list.length >= FINDINGS_MAX;
  }

  /** Whether there is a value to be looked at. */
  required(state: State, path: string): bool {
    if (state == State.Missing) this.add(path, REQUIRED, "a value is needed here");
    if (state == State.Malformed) this.add(path, MALFORMED, "the value has the wrong type");
    return state == State.Given;
  }

  /** An id or a stock number. */
  text(field: Field<string>, path: string): void {
    if (!this.required(field.state, path)) return;
    if (!field.value.length) this.add(path, REQUIRED, "the text is empty");
    else if (String.UTF8.byteLength(field.value) > ID_BYTES_MAX) this.add(path, OUT_OF_RANGE, "at most 64 bytes");
  }

  matches(field: Field<string>, rule: (text: string) => bool, path: string): void {
    if (this.required(field.state, path) && !rule(field.value)) {
      this.add(path, MALFORMED, "the text is not in the form that is wanted here");
    }
  }

  number(field: Field<i64>, least: i64, most: i64, path: string): bool {
    if (!this.required(field.state, path)) return false;
    if (field.value >= least && field.value <= most) return true;
    this.add(path, OUT_OF_RANGE, "the number is too small or too large");
    return false;
  }
}

/** An order. It passed every rule if it has no findings. */
export class Order {
  findings: Findings = new Findings();
  totalCents: u64 = 0;
  private idField: Field<string> = new Field<string>("");
  private customer: Field<string> = new Field<string>("");
  private country: Field<string> = new Field<string>("");
  private couponField: Field<string> = new Field<string>("");
  private lines: Lines = new Lines();

  get id(): string {
    return this.idField.value;
  }

  get coupon(): string | null {
    return this.couponField.given ? this.couponField.value : null;
  }

  /** The sum of all quantities. */
  get itemCount(): u64 {
    return this.lines.count;
  }

  /** How the order is handled by those who pack it. */
  get tier(): string {
    if (this.totalCents < STANDARD_CENTS) return "small";
    return this.totalCents < REVIEW_CENTS ? "standard" : "large";
  }

  get needsReview(): bool {
    return this.totalCents >= REVIEW_CENTS;
  }

  /** Takes so many percent off the total, at most all of it. */
  discount(percent: u64): void {
    // In two parts, so that no total is too large to be multiplied.
    const total = this.totalCents;
    this.totalCents = total - ((total / 100) * percent + ((total % 100) * percent) / 100);
  }

  member(reader: Reader): void {
    if (reader.isNamed("id")) this.idField.read(reader);
    else if (reader.isNamed("customer")) this.customer.read(reader);
    else if (reader.isNamed("country")) this.country.read(reader);
    else if (reader.isNamed("coupon")) this.couponField.read(reader);
    else if (reader.isNamed("items")) this.lines.read(reader);
    else reader.skip();
  }

  check(): void {
    const findings = this.findings;
    findings.text(this.idField, "/order/id");
    findings.matches(this.customer, isEmail, "/order/customer");
    findings.matches(this.country, isCountry, "/order/country");
    if (this.couponField.state != State.Missing) findings.matches(this.couponField, isCoupon, "/order/coupon");
    this.lines.tell(findings);
    this.totalCents = this.lines.total;
  }
}

/** The lines of an order, of which only the sums and the findings are kept. */
class Lines {
  total: u64 = 0;
  count: u64 = 0;
  private state: State = State.Missing;
  private seen: bool = false;
  private length: i32 = 0;
  /** Whether both sums are those of all lines. */
  private summed: bool = true;
  private findings: Findings = new Findings();
  /** The same one for each line. */
  private item: Field<Item> = new Field<Item>(new Item());

  read(reader: Reader): void {
    if (this.seen) {
      reader.refuse();
      return;
    }
    this.seen = true;
    this.state = reader.openList();
    if (this.state != State.Given) return;
    const item = this.item;
    while (reader.nextItem()) {
      item.clear();
      item.value.clear();
      item.read(reader);
      // A sum can't be mended by the lines behind it.
      if (!this.add() || !this.summed) this.summed = false;
      this.length++;
    }
  }

  tell(findings: Findings): void {
    if (!findings.required(this.state, "/order/items")) return;
    if (!this.length) findings.add("/order/items", REQUIRED, "an order has at least one item");
    const own = this.findings.list;
    for (let index = 0; index < own.length; index++) findings.push(own[index]);
    if (!this.summed && !findings.list.length) {
      findings.add("/order/items", OUT_OF_RANGE, "the total is too large to be counted");
    }
  }

  /** Checks a line, and adds it to the sums. Whether they could take it. */
  private add(): bool {
    const findings = this.findings;
    // Nothing more is told, and nothing is sold.
    if (findings.full) return false;
    findings.line = this.length;
    const item = this.item;
    if (!findings.required(item.state, "")) return false;
    const line = item.value;
    findings.text(line.sku, "/sku");
    const counted = findings.number(line.quantity, 1, QUANTITY_MAX, "/quantity");
    const priced = findings.number(line.priceCents, 0, i64.MAX_VALUE, "/price_cents");
    if (!counted || !priced) return false;
    const quantity = <u64>line.quantity.value;
    const cents = <u64>line.priceCents.value;
    if (cents > (u64.MAX_VALUE - this.total) / quantity) return false;
    this.total += quantity * cents;
    this.count += quantity;
    return true;
  }
}

class Item {
  sku: Field<string> = new Field<string>("");
  quantity: Field<i64> = new Field<i64>(0);
  priceCents: Field<i64> = new Field<i64>(0);

  clear(): void {
    this.sku.clear();
    this.quantity.clear();
    this.priceCents.clear();
  }

  member(reader: Reader): void {
    if (reader.isNamed("sku")) this.sku.read(reader);
    else if (reader.isNamed("quantity")) this.quantity.read(reader);
    else if (reader.isNamed("price_cents")) this.priceCents.read(reader);
    else reader.skip();
  }
}

/** Enough to catch a typing error. Whether somebody reads it, only a letter can tell. */
function isEmail(text: string): bool {
  if (String.UTF8.byteLength(text) > EMAIL_BYTES_MAX) return false;
  let at = -1;
  let labels = 0;
  // Of the label of the domain that is being read.
  let length = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit <= 0x20 || unit == 0x7f) return false;
    if (unit == 0x40) {
      if (at >= 0) return false;
      at = index;
    } else if (at >= 0) {
      if (unit != 0x2e) length++;
      else if (length) {
        labels++;
        length = 0;
      } else return false;
    }
  }
  return at > 0 && length > 0 && labels > 0;
}

/** The form of ISO 3166-1 alpha-2. */
function isCountry(text: string): bool {
  return text.length == 2 && isUpper(text.charCodeAt(0)) && isUpper(text.charCodeAt(1));
}

/** As it is printed on vouchers, and needs no encoding in a URL. */
function isCoupon(text: string): bool {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (!isUpper(unit) && !(unit >= 0x30 && unit <= 0x39) && unit != 0x2d) return false;
  }
  return text.length > 0 && text.length <= COUPON_BYTES_MAX;
}

function isUpper(unit: i32): bool {
  return unit >= 0x41 && unit <= 0x5a;
}
