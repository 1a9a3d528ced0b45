// A job step that checks an order, prices it, and says where it goes next.
//
// Here is the order of events, and what the job is told. The rules are in order.go, the way to the gateway in step/.
package main

import (
	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

// The step that a job needs beside this one: a person looks at the order.
const review = "review"

func init() {
	step.Run(check)
}

// The gateway never calls it; Go wants one.
func main() {}

func check(input json.Value) (step.Completed, error) {
	order, err := readOrder(input)
	if err != nil {
		return step.Completed{}, refuse(err)
	}
	// The two places with the coupon may go, together with coupons.go.
	var coupon redemption
	if order.Coupon != "" {
		if coupon, err = redeem(&order); err != nil {
			return step.Completed{}, refuse(err)
		}
	}
	return accept(order, coupon)
}

func accept(order Order, coupon redemption) (step.Completed, error) {
	region, found, err := step.GetText("region")
	if err != nil {
		return step.Completed{}, err
	}
	if !found {
		region = "eu"
	}
	last := new(json.Map).Set("id", order.ID).Set("total_cents", order.TotalCents)
	if err := step.Set("last_order", last); err != nil {
		return step.Completed{}, err
	}

	output := new(json.Map).
		Set("order_id", order.ID).
		Set("total_cents", order.TotalCents).
		Set("item_count", order.ItemCount).
		Set("tier", order.Tier()).
		Set("region", region)
	fields := []any{"order_id", order.ID, "total_cents", order.TotalCents}
	if order.Coupon != "" {
		output.Set("discount_percent", coupon.percent).Set("coupon_used", coupon.times)
		fields = append(fields, "coupon", order.Coupon)
	}
	completed := step.Completed{Output: output}
	if order.NeedsReview() {
		// The same for every attempt, so that the desk never opens a second case for one order.
		output.Set("review_reference", step.Current().IdempotencyKey)
		completed.Next = []string{review}
	}
	step.Info("order accepted", fields...)
	return completed, nil
}

// refuse tells the log of an order that is wrong. What else went wrong is told by the gateway itself.
func refuse(err error) error {
	if findings, ok := err.(step.Findings); ok {
		step.Warn("order refused", "findings", len(findings))
	}
	return err
}
