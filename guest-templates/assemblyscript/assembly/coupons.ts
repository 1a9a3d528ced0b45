// What a coupon takes off an order: asked of a server, and written down in a database.
//
// A step that has no use for it drops this file and the lines of `index.ts` that name it; the component gets smaller.

import { Field, Reader } from "./json";
import { Outcome, Result, context, db, http, invalidValue } from "./sluice";

const SERVER = "https://coupons.example.com/v1/coupons/";
const DATABASE = "shop";

/** The server's answer. */
class Coupon {
  percent: Field<u64> = new Field<u64>(0);

  member(reader: Reader): void {
    if (reader.isNamed("percent")) this.percent.read(reader);
    else reader.skip();
  }
}

/** A row of the database. */
class Count {
  times: Field<u64> = new Field<u64>(0);

  member(reader: Reader): void {
    if (reader.isNamed("times")) this.times.read(reader);
    else reader.skip();
  }
}

/** A coupon that was redeemed. */
export class Redeemed {
  constructor(
    /** 0 to 100. */
    readonly percent: u64,
    /** How often it was so far, this time included. */
    readonly times: u64,
  ) {}
}

/** Redeems the coupon for the order with this id. */
export function redeem(coupon: string, orderId: string): Result<Redeemed> {
  const percent = percentOf(coupon);
  if (percent.failed) return Result.end<Redeemed>(percent.outcome);
  const noted = db.execute(
    DATABASE,
    "insert into redemptions (order_id, coupon, redeemed_by) values ($1, $2, $3)",
    new db.Params().text(orderId).text(coupon).text(context.current().idempotencyKey),
  );
  if (noted.failed) return Result.end<Redeemed>(noted.outcome);
  const times = timesOf(coupon);
  if (times.failed) return Result.end<Redeemed>(times.outcome);
  return Result.of<Redeemed>(new Redeemed(percent.value, times.value));
}

function percentOf(coupon: string): Result<u64> {
  const answer = http
    .get(SERVER + coupon)
    .header("authorization", "Bearer {{secret:coupons}}")
    .send();
  if (answer.failed) return Result.end<u64>(answer.outcome);
  if (answer.value.status == 404) return Result.end<u64>(noSuchCoupon());
  const body = answer.value.json();
  if (body.failed) return Result.end<u64>(body.outcome);

  const reader = new Reader(body.value);
  const read = new Field<Coupon>(new Coupon());
  read.read(reader);
  const percent = read.value.percent;
  if (!reader.end() || !percent.given || percent.value > 100) return Result.end<u64>(http.wrongBody());
  return Result.of<u64>(percent.value);
}

function noSuchCoupon(): Outcome {
  return invalidValue("/order/coupon", "unknown", "there is no such coupon");
}

function timesOf(coupon: string): Result<u64> {
  const rows = db.query(
    DATABASE,
    "select count(*) as times from redemptions where coupon = $1",
    new db.Params().text(coupon),
  );
  if (rows.failed) return Result.end<u64>(rows.outcome);

  const reader = new Reader(rows.value);
  const first = new Field<Count>(new Count());
  reader.openList();
  if (reader.nextItem()) first.read(reader);
  while (reader.nextItem()) reader.skip();
  const times = first.value.times;
  if (!reader.end() || !times.given) return Result.end<u64>(db.wrongRow());
  return Result.of<u64>(times.value);
}
