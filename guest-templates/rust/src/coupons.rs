//! What a coupon takes off an order: asked of a server, and written down in a database.
//!
//! A step that has no use for it drops this file and the lines of `lib.rs` that name it; the component gets smaller.

use serde::Deserialize;

use crate::field::{Field, Object};
use crate::step::{StepError, context, db, failure, http};

const SERVER: &str = "https://coupons.example.com/v1/coupons";
const DATABASE: &str = "shop";

/// The server's answer.
#[derive(Deserialize)]
struct Coupon {
    percent: u64,
}

/// A row of the database.
#[derive(Deserialize)]
struct Count {
    times: u64,
}

/// A coupon that was redeemed.
pub struct Redeemed {
    /// 0 to 100.
    pub percent: u64,
    /// How often it was so far, this time included.
    pub times: u64,
}

/// Redeems the coupon for the order with this id.
pub fn redeem(coupon: &str, order_id: &str) -> Result<Redeemed, StepError> {
    let answer =
        http::get(&format!("{SERVER}/{coupon}")).header("authorization", "Bearer {{secret:coupons}}").send()?;
    if answer.status == 404 {
        return Err(StepError::invalid("/order/coupon", "unknown", "there is no such coupon"));
    }
    let Field::Given(Object(Coupon { percent: percent @ 0..=100 })) = answer.json()? else {
        return Err(failure("http-body", "the server's answer is not what the step reads").into());
    };
    let insert = "insert into redemptions (order_id, coupon, redeemed_by) values ($1, $2, $3)";
    db::execute(DATABASE, insert, &(order_id, coupon, context::current().idempotency_key))?;
    let count = "select count(*) as times from redemptions where coupon = $1";
    let rows = db::query::<Field<Object<Count>>>(DATABASE, count, &(coupon,))?;
    let Some(Field::Given(Object(Count { times }))) = rows.into_iter().next() else {
        return Err(failure("row", "the rows are not what the step reads").into());
    };
    Ok(Redeemed { percent, times })
}
