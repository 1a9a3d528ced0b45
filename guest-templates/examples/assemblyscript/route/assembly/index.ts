// A job step that decides which steps run next: who has to approve an expense claim.
//
// Here are the bounds. The way to the gateway is in `sluice`. It names only steps that the job allows in its routes.

import { Field, Reader } from "./json";
import { Outcome, completed, invalidValue, log, malformed } from "./sluice";
import { Writer } from "./writer";

/** Up to this the receipt is enough. */
const SMALL_CENTS: i64 = 5_000;
/** Above this a manager alone can't approve. */
const LARGE_CENTS: i64 = 100_000;

/** What the step is called with. */
class Claim {
  id: Field<string> = new Field<string>("");
  amountCents: Field<i64> = new Field<i64>(0);

  member(reader: Reader): void {
    if (reader.isNamed("id")) this.id.read(reader);
    else if (reader.isNamed("amount_cents")) this.amountCents.read(reader);
    else reader.skip();
  }
}

export function run(json: string): Outcome {
  const reader = new Reader(json);
  const input = new Field<Claim>(new Claim());
  input.read(reader);
  if (!reader.end()) return malformed(reader);

  const id = input.value.id;
  if (!id.given) return invalidValue("/id", "malformed", "a text is needed here");
  const amount = input.value.amountCents;
  if (!amount.given) return invalidValue("/amount_cents", "malformed", "an integer is needed here");
  if (amount.value < 0) return invalidValue("/amount_cents", "out-of-range", "0 or more");

  const approvals = approvalsOf(amount.value);
  log.info("claim routed", new log.Fields().text("id", id.value).integer("approvals", approvals.length));
  const output = new Writer().openObject().name("approvals").integer(approvals.length).closeObject().finish();
  return completed(output, approvals.length ? approvals : paymentOf(amount.value));
}

/** The steps of the job in which somebody approves; several run side by side. */
function approvalsOf(cents: i64): string[] {
  if (cents <= SMALL_CENTS) return [];
  return cents <= LARGE_CENTS ? ["manager"] : ["manager", "finance"];
}

/** What runs next where nobody has to approve: without a step the job ends here. */
function paymentOf(cents: i64): string[] {
  return cents ? ["pay"] : [];
}
