//! A job step that checks an order, prices it, and says where it goes next.
//!
//! Owns the order of events, and what the step tells the job. Does not own the rules (`order`)
//! or the way to the gateway (`step`).
//! Invariant: no input makes it panic; a wrong order ends as `invalid` with all that is wrong.

mod coupons;
mod field;
mod order;
mod step;

use serde::Serialize;
use step::{Completed, StepError, ValidationError, context, log};

step::functions! { run => check }

/// The step that a job needs beside this one: a person looks at the order.
const REVIEW: &str = "review";

/// What the job's data gain.
#[derive(Serialize)]
struct Accepted<'a> {
    order_id: &'a str,
    total_cents: u64,
    item_count: u64,
    tier: order::Tier,
    region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount_percent: Option<u64>,
    /// How often the coupon was used so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_used: Option<u64>,
    /// The same for every attempt, so that the desk never opens a second case for one order.
    #[serde(skip_serializing_if = "Option::is_none")]
    review_reference: Option<&'a str>,
}

#[derive(Serialize)]
struct LastOrder<'a> {
    id: &'a str,
    total_cents: u64,
}

fn check(input: order::Input) -> Result<Completed, StepError> {
    let mut order = order::check(input).map_err(refuse)?;
    let redeemed = match &order.coupon {
        Some(coupon) => Some(coupons::redeem(coupon, &order.id).inspect_err(tell_refused)?),
        None => None,
    };
    if let Some(redeemed) = &redeemed {
        order.discount(redeemed.percent);
    }
    let region: Option<String> = context::get("region")?;
    context::set("last_order", &LastOrder { id: &order.id, total_cents: order.total_cents })?;

    let review = order.needs_review().then(context::current);
    let accepted = Accepted {
        order_id: &order.id,
        total_cents: order.total_cents,
        item_count: order.item_count,
        tier: order.tier(),
        region: region.as_deref().unwrap_or("eu"),
        discount_percent: redeemed.as_ref().map(|redeemed| redeemed.percent),
        coupon_used: redeemed.as_ref().map(|redeemed| redeemed.times),
        review_reference: review.as_ref().map(|execution| execution.idempotency_key.as_str()),
    };
    let mut fields: Vec<log::Field> = vec![("order_id", &accepted.order_id), ("total_cents", &accepted.total_cents)];
    fields.extend(order.coupon.as_ref().map(|coupon| ("coupon", coupon as &dyn log::Value)));
    log::info("order accepted", &fields);

    let completed = Completed::new(&accepted)?;
    Ok(if review.is_some() { completed.then(&[REVIEW]) } else { completed })
}

/// A coupon that isn't one is a finding like any other.
fn tell_refused(error: &StepError) {
    if let StepError::Invalid(errors) = error {
        log::warn("order refused", &[("findings", &errors.len())]);
    }
}

fn refuse(findings: Vec<order::Finding>) -> StepError {
    log::warn("order refused", &[("findings", &findings.len())]);
    let error = |finding: order::Finding| ValidationError {
        path: finding.path,
        code: finding.code.to_owned(),
        message: finding.message.to_owned(),
    };
    StepError::Invalid(findings.into_iter().map(error).collect())
}
