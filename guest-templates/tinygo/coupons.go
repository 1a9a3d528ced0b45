package main

import (
	"math/bits"

	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

// redemption is what a coupon was good for.
type redemption struct {
	percent uint64
	// How often the coupon was used, this time included.
	times uint64
}

// redeem asks what an order's coupon is worth, notes its use, and takes the discount off the total.
func redeem(order *Order) (redemption, error) {
	percent, err := percentOf(order.Coupon)
	if err != nil {
		return redemption{}, err
	}
	times, err := use(order.Coupon, order.ID)
	if err != nil {
		return redemption{}, err
	}
	order.TotalCents -= discount(order.TotalCents, percent)
	return redemption{percent, times}, nil
}

func percentOf(coupon string) (uint64, error) {
	response, err := step.Request{
		// The rules let no character of another meaning into a coupon.
		URL:    "https://coupons.example.com/v1/coupons/" + coupon,
		Header: []step.Header{{"authorization", "Bearer {{secret:coupons}}"}},
	}.Send()
	if err != nil {
		return 0, err
	}
	if response.Status == 404 {
		return 0, step.Invalid("/order/coupon", "unknown", "there is no such coupon")
	}
	body, err := response.JSON()
	if err != nil {
		return 0, err
	}
	var percent json.Value
	if body.Scan(json.Into("percent", &percent)) != nil {
		return 0, step.ErrBody
	}
	number, ok := percent.Uint()
	if !ok || number > 100 {
		return 0, step.ErrBody
	}
	return number, nil
}

// use notes the use of a coupon, and tells how many there are by now.
func use(coupon, order string) (times uint64, err error) {
	_, err = step.Exec("shop", "insert into redemptions (order_id, coupon, redeemed_by) values ($1, $2, $3)",
		order, coupon, step.Current().IdempotencyKey)
	if err != nil {
		return 0, err
	}
	rows, err := step.Query("shop", "select count(*) as times from redemptions where coupon = $1", coupon)
	if err != nil {
		return 0, err
	}
	if len(rows) == 0 {
		return 0, step.ErrRow
	}
	times, ok := rows[0].Get("times").Uint()
	if !ok {
		return 0, step.ErrRow
	}
	return times, nil
}

// discount is a part of a total, in whole cents. The product may need more than 64 bits.
func discount(cents, percent uint64) uint64 {
	high, low := bits.Mul64(cents, percent)
	part, _ := bits.Div64(high, low, 100)
	return part
}
