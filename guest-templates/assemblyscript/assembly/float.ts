// From decimal digits to the nearest f64. Authors get it through `json`, and a component that reads no f64 has none of it.
//
// `parseFloat` of AssemblyScript 0.28 takes 3.3085694355556635e+41 for 3.3085694355556636e+38: between 23 and 37 powers of ten
// above 2 ** 53 it forgets some. This goes once that is mended there. Invariant: what is written is rounded once, ties to
// even (IEEE 754), so that it is the same number as in any other language.

/** Digits that can change what is nearest: those behind them only say that there is more. */
const DIGITS_MAX: i32 = 800;

/** The smallest f64 that is not zero is above 10 ** -324, and the largest is below 10 ** 309. */
const POWER_MIN: i32 = -324;
const POWER_MAX: i32 = 309;

/** For 10 ** (DIGITS_MAX - POWER_MIN), and one bit. */
const WORDS: i32 = 120;

/** Up to here powers of ten are exact in f64. */
const EXACT_POWER_MAX: i32 = 22;

const MANTISSA_BITS: i32 = 52;
const BIAS: i32 = 1023;

/** The f64 nearest to `significand * 10 ** exponent`, which is what `number` says if it is `exact`, else its first digits. */
export function nearest(number: string, significand: u64, exponent: i32, exact: bool): f64 {
  const isNegative = number.startsWith("-");
  let float: f64;
  if (exact && significand <= <u64>1 << (MANTISSA_BITS + 1) && abs(exponent) <= EXACT_POWER_MAX) {
    // Both are exact, so that there is one rounding.
    float = <f64>significand;
    if (exponent < 0) float /= power(-exponent);
    else float *= power(exponent);
  } else float = ratio(number);
  return isNegative ? -float : float;
}

function power(exponent: i32): f64 {
  let power: f64 = 1;
  while (exponent--) power *= 10;
  return power;
}

/** By whole numbers as large as it takes: slow, and never wrong. */
function ratio(number: string): f64 {
  const above = new Whole();
  const below = new Whole();
  const exponent = above.readDigits(number);
  if (above.bits == 0 || above.digits + exponent < POWER_MIN) return 0;
  if (above.digits + exponent > POWER_MAX) return f64.POSITIVE_INFINITY;
  below.multiply(1, 1);
  const larger = exponent < 0 ? below : above;
  for (let left = abs(exponent); left > 0; left--) larger.multiply(10, 0);

  // Shifted so that 1 <= above / below < 2, and the number is that times 2 ** binary.
  let binary = above.bits - below.bits;
  if (binary < 0) above.shift(-binary);
  else below.shift(binary);
  if (above.isBelow(below)) {
    above.shift(1);
    binary--;
  }
  let bits: u64 = 0;
  for (let index = 0; index < 64; index++) {
    bits <<= 1;
    if (!above.isBelow(below)) {
      above.subtract(below);
      bits |= 1;
    }
    above.shift(1);
  }
  return rounded(bits, binary, above.bits != 0);
}

/** `bits`, the first of which is 1, times 2 ** (binary - 63), and a little more if `more`. */
function rounded(bits: u64, binary: i32, more: bool): f64 {
  if (binary > BIAS) return f64.POSITIVE_INFINITY;
  const lost = 63 - MANTISSA_BITS + max(0, 1 - BIAS - binary);
  if (lost > 64) return 0;
  let kept: u64 = lost < 64 ? bits >> lost : 0;
  const rest = lost < 64 ? bits << (64 - lost) : bits;
  const half: u64 = 1 << 63;
  if (rest > half || (rest == half && (more || (kept & 1) == 1))) kept++;
  // A mantissa that got a bit more makes the exponent one more, as it should.
  if (binary > -BIAS) kept += <u64>(binary + BIAS - 1) << MANTISSA_BITS;
  return reinterpret<f64>(kept);
}

/** A whole number, its lowest word first. */
class Whole {
  private words: StaticArray<u32> = new StaticArray<u32>(WORDS);
  /** Words that are not zero are before this one. */
  private used: i32 = 0;
  /** The decimal digits that `readDigits` has read. */
  digits: i32 = 0;

  /** Takes the digits of a number, and gives the power of ten that they are to be multiplied by. */
  readDigits(number: string): i32 {
    let exponent = 0;
    let isFraction = false;
    let more = false;
    for (let at = 0; at < number.length; at++) {
      const digit = number.charCodeAt(at) - 0x30;
      if (digit == 0x2e - 0x30) isFraction = true;
      else if (digit >= 0 && digit < 10) {
        if (this.digits < DIGITS_MAX) {
          this.multiply(10, digit);
          if (this.used) this.digits++;
          if (isFraction) exponent--;
        } else {
          more = more || digit != 0;
          if (!isFraction) exponent++;
        }
      } else if (at > 0) {
        // It is the `e`: a minus is first.
        exponent += exponentOf(number, at + 1);
        break;
      }
    }
    if (!more) return exponent;
    this.multiply(10, 1);
    this.digits++;
    return exponent - 1;
  }

  get bits(): i32 {
    return this.used ? this.used * 32 - clz<u32>(this.words[this.used - 1]) : 0;
  }

  /** Times `factor`, plus `more`. */
  multiply(factor: u32, more: u32): void {
    let carry: u64 = more;
    for (let index = 0; index < this.used; index++) {
      carry += <u64>this.words[index] * factor;
      this.words[index] = <u32>carry;
      carry >>= 32;
    }
    if (carry) this.words[this.used++] = <u32>carry;
  }

  /** Times 2 ** bits. */
  shift(bits: i32): void {
    const words = bits >> 5;
    const rest = <u32>bits & 31;
    if (!this.used) return;
    for (let index = this.used; index >= 0; index--) {
      const high = index < this.used ? <u64>this.words[index] << 32 : 0;
      const low = index > 0 ? <u64>this.words[index - 1] : 0;
      const word = <u32>((high | low) >> (32 - rest));
      if (word || index < this.used) this.words[index + words] = word;
    }
    const top = this.used + words;
    for (let index = 0; index < words; index++) this.words[index] = 0;
    this.used = top < WORDS && this.words[top] ? top + 1 : top;
  }

  isBelow(other: Whole): bool {
    if (this.used != other.used) return this.used < other.used;
    for (let index = this.used - 1; index >= 0; index--) {
      if (this.words[index] != other.words[index]) return this.words[index] < other.words[index];
    }
    return false;
  }

  /** Less `other`, which is no larger. */
  subtract(other: Whole): void {
    let borrow: i64 = 0;
    for (let index = 0; index < this.used; index++) {
      borrow += <i64>this.words[index] - (index < other.used ? <i64>other.words[index] : 0);
      this.words[index] = <u32>borrow;
      borrow >>= 32;
    }
    while (this.used && !this.words[this.used - 1]) this.used--;
  }
}

/** Of what is behind the `e`; of one that is longer than any text, the first digits. */
function exponentOf(number: string, at: i32): i32 {
  const sign = number.charCodeAt(at);
  if (sign == 0x2b || sign == 0x2d) at++;
  let exponent = 0;
  for (; at < number.length && exponent < 100_000_000; at++) exponent = exponent * 10 + number.charCodeAt(at) - 0x30;
  return sign == 0x2d ? -exponent : exponent;
}
