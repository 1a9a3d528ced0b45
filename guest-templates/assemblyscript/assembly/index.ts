// A job step that checks an order, prices it, and says where it goes next.
//
// Here is the order of events, and what the job is told. The rules are in `order`, the way to the gateway in `sluice`.

import { Redeemed, redeem } from "./coupons";
import { Reader } from "./json";
import { Call, Order } from "./order";
import { Invalid, Outcome, completed, context, invalid, log, malformed } from "./sluice";
import { Writer } from "./writer";

/** The step that a job needs beside this one: a person looks at the order. */
const REVIEW = "review";

export function run(input: string): Outcome {
  const reader = new Reader(input);
  const order = Call.read(reader);
  if (order === null) return malformed(reader);
  if (order.findings.list.length) return refuse(invalid(order.findings.list));

  const coupon = order.coupon;
  if (coupon === null) return accept(order, null);
  const redeemed = redeem(coupon, order.id);
  if (redeemed.failed) return refuse(redeemed.outcome);
  order.discount(redeemed.value.percent);
  return accept(order, redeemed.value);
}

function accept(order: Order, redeemed: Redeemed | null): Outcome {
  const region = context.getText("region");
  if (region.failed) return region.outcome;
  const last = new Writer().openObject().name("id").text(order.id).name("total_cents").unsigned(order.totalCents);
  const kept = context.set("last_order", last.closeObject().finish());
  if (kept !== null) return kept;

  const home = region.value;
  const output = new Writer()
    .openObject()
    .name("order_id")
    .text(order.id)
    .name("total_cents")
    .unsigned(order.totalCents)
    .name("item_count")
    .unsigned(order.itemCount)
    .name("tier")
    .text(order.tier)
    .name("region")
    .text(home === null ? "eu" : home);
  if (redeemed !== null) {
    output.name("discount_percent").unsigned(redeemed.percent).name("coupon_used").unsigned(redeemed.times);
  }
  // The same for every attempt, so that the desk never opens a second case for one order.
  if (order.needsReview) output.name("review_reference").text(context.current().idempotencyKey);

  const fields = new log.Fields().text("order_id", order.id).unsigned("total_cents", order.totalCents);
  const coupon = order.coupon;
  if (coupon !== null) fields.text("coupon", coupon);
  log.info("order accepted", fields);
  return completed(output.closeObject().finish(), order.needsReview ? [REVIEW] : null);
}

/** Tells the log of an order that is wrong. What else went wrong, the gateway tells by itself. */
function refuse(outcome: Outcome): Outcome {
  if (outcome instanceof Invalid) {
    const findings = (outcome as Invalid).errors.length;
    log.warn("order refused", new log.Fields().integer("findings", findings));
  }
  return outcome;
}
