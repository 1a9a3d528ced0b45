// A job step that reads the measures of a parcel, and returns what it costs to send.
//
// Here are the prices. The way to the gateway is in `sluice`.

import { Field, Reader } from "./json";
import { Outcome, completed, invalidValue, malformed } from "./sluice";
import { Writer } from "./writer";

/** What the carrier takes. */
const SIDE_MM_MAX: u64 = 2_000;
const WEIGHT_G_MAX: u64 = 31_500;
/** What is large for its weight takes the room of something heavier: 5 dm³ count as a kilogram. */
const MM3_PER_G: u64 = 5_000;

const FIRST_KG_CENTS: u64 = 490;
const NEXT_KG_CENTS: u64 = 120;

/** What the step is called with. */
class Parcel {
  lengthMm: Field<u64> = new Field<u64>(0);
  widthMm: Field<u64> = new Field<u64>(0);
  heightMm: Field<u64> = new Field<u64>(0);
  weightG: Field<u64> = new Field<u64>(0);

  member(reader: Reader): void {
    if (reader.isNamed("length_mm")) this.lengthMm.read(reader);
    else if (reader.isNamed("width_mm")) this.widthMm.read(reader);
    else if (reader.isNamed("height_mm")) this.heightMm.read(reader);
    else if (reader.isNamed("weight_g")) this.weightG.read(reader);
    else reader.skip();
  }

  get billableG(): u64 {
    const volumeMm3 = this.lengthMm.value * this.widthMm.value * this.heightMm.value;
    return max(this.weightG.value, volumeMm3 / MM3_PER_G);
  }
}

export function run(json: string): Outcome {
  const reader = new Reader(json);
  const input = new Field<Parcel>(new Parcel());
  input.read(reader);
  if (!reader.end()) return malformed(reader);

  const parcel = input.value;
  const wrong =
    wrongMeasure(parcel.lengthMm, SIDE_MM_MAX, "/length_mm") ||
    wrongMeasure(parcel.widthMm, SIDE_MM_MAX, "/width_mm") ||
    wrongMeasure(parcel.heightMm, SIDE_MM_MAX, "/height_mm") ||
    wrongMeasure(parcel.weightG, WEIGHT_G_MAX, "/weight_g");
  if (wrong !== null) return wrong;

  const grams = parcel.billableG;
  const output = new Writer().openObject();
  output.name("billable_g").unsigned(grams).name("price_cents").unsigned(priceCents(grams));
  return completed(output.closeObject().finish());
}

function wrongMeasure(measure: Field<u64>, most: u64, path: string): Outcome | null {
  if (!measure.given) return invalidValue(path, "malformed", "an integer is needed here");
  if (measure.value >= 1 && measure.value <= most) return null;
  return invalidValue(path, "out-of-range", "1 to " + most.toString());
}

/** A kilogram that has begun is paid for. */
function priceCents(grams: u64): u64 {
  return FIRST_KG_CENTS + ((grams - 1) / 1_000) * NEXT_KG_CENTS;
}
