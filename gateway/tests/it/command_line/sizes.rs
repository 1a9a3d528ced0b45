//! What the order step weighs without a use of `http` and `db`.

use super::examples::{Step, bytes_max};

/// What a coupon is worth, without asking anybody: in place of the template's file that asks a server and a database.
const RUST: (&str, &str) = (
    "src/coupons.rs",
    r#"
//! What a coupon takes off an order.

use crate::step::StepError;

pub struct Redeemed {
    pub percent: u64,
    pub times: u64,
}

pub fn redeem(coupon: &str, _: &str) -> Result<Redeemed, StepError> {
    match coupon {
        "WELCOME" => Ok(Redeemed { percent: 10, times: 1 }),
        _ => Err(StepError::invalid("/order/coupon", "unknown", "there is no such coupon")),
    }
}
"#,
);

const TINYGO: (&str, &str) = (
    "coupons.go",
    r#"
package main

import STEP

type redemption struct {
	percent uint64
	times   uint64
}

func redeem(order *Order) (redemption, error) {
	if order.Coupon != "WELCOME" {
		return redemption{}, step.Invalid("/order/coupon", "unknown", "there is no such coupon")
	}
	return redemption{percent: 10, times: 1}, nil
}
"#,
);

const ASSEMBLYSCRIPT: (&str, &str) = (
    "assembly/coupons.ts",
    r#"
import { Result, invalidValue } from "./sluice";

export class Redeemed {
  constructor(
    readonly percent: u64,
    readonly times: u64,
  ) {}
}

export function redeem(coupon: string, orderId: string): Result<Redeemed> {
  if (coupon == "WELCOME") return Result.of<Redeemed>(new Redeemed(10, 1));
  return Result.end<Redeemed>(invalidValue("/order/coupon", "unknown", "there is no such coupon"));
}
"#,
);

async fn the_order_step_is_small(language: &str, name: &'static str, (file, text): (&str, &str)) {
    let step = Step::of_template(language, name).await;
    let file = step.path(file);
    let before = std::fs::read_to_string(&file).unwrap();
    // Go's packages are named by the module, which is the author's own.
    let package = before.lines().map(str::trim).find(|line| line.ends_with("/step\"")).unwrap_or_default();
    std::fs::write(&file, text.replace("STEP", package)).unwrap();
    let built = step.sluice(&["build"]).await.done();
    assert!(built.stdout.contains("sluice:step/log"), "{built:?}");
    assert!(!built.stdout.contains("sluice:step/http") && !built.stdout.contains("sluice:step/db"), "{built:?}");
    let bytes = step.component(&built).len();
    assert!(bytes <= bytes_max(language), "{language}: {bytes} bytes");
    let tested = step.sluice(&["test", "--filter", "a-good-order"]).await.done();
    assert!(tested.stdout.ends_with("\n1 passed, 0 failed\n"), "{tested:?}");
}

#[tokio::test]
async fn the_order_step_in_rust_is_small() {
    the_order_step_is_small("rust", "small-order-in-rust", RUST).await;
}

#[tokio::test]
async fn the_order_step_in_tinygo_is_small() {
    the_order_step_is_small("tinygo", "small-order-in-tinygo", TINYGO).await;
}

#[tokio::test]
async fn the_order_step_in_assemblyscript_is_small() {
    the_order_step_is_small("assemblyscript", "small-order-in-assemblyscript", ASSEMBLYSCRIPT).await;
}
