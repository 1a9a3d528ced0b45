package main

import (
	"math"
	"math/bits"
	"strconv"
	"strings"

	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

// What makes an order acceptable, and what it is worth. Pure rules, so that go test runs them on the author's own machine.
// They are total over all JSON: a value of the wrong type is a finding at its path, never the end of the check.

const (
	// Orders of this total and above are looked at by a person.
	reviewCents = 100_000
	// Above, it is a typing error or a reseller, who has another way to order.
	quantityMax = 10_000
	// The width of the id columns of the shop's database.
	idBytesMax = 64
	// The longest address that SMTP can carry (RFC 5321, 4.5.3.1.3).
	emailBytesMax = 254
	// What the coupon service gives out.
	couponBytesMax = 32
	// Nobody mends more than these at a time, and a hostile order can't make the answer larger than itself.
	findingsMax = 100
)

const (
	required   = "required"
	malformed  = "malformed"
	outOfRange = "out-of-range"
)

// Order is one that passed every rule.
type Order struct {
	ID string
	// Empty where there is none.
	Coupon     string
	TotalCents uint64
	// The sum of all quantities.
	ItemCount uint64
}

// Tier is how the order is handled by those who pack it.
func (o Order) Tier() string {
	switch {
	case o.TotalCents < 10_000:
		return "small"
	case o.TotalCents < reviewCents:
		return "standard"
	default:
		return "large"
	}
}

// NeedsReview tells whether a person should look at the order.
func (o Order) NeedsReview() bool {
	return o.TotalCents >= reviewCents
}

// readOrder checks every rule, and prices the order. The error is step.Findings with all that is wrong, the first
// hundred of them, or a *json.Error where a member stands twice.
func readOrder(input json.Value) (Order, error) {
	var c checker
	order, err := c.order(input)
	if err != nil {
		return Order{}, err
	}
	if len(c.findings) > 0 {
		return Order{}, c.findings
	}
	return order, nil
}

// place is a value of the input. It is worded as a path only where something is wrong.
type place struct {
	prefix string
	// Counts from 1; 0 is no item.
	item   int
	suffix string
}

func (p place) path() string {
	if p.item == 0 {
		return p.prefix
	}
	return p.prefix + strconv.Itoa(p.item-1) + p.suffix
}

func at(path string) place {
	return place{prefix: path}
}

func atItem(index int, member string) place {
	return place{"/order/items/", index + 1, member}
}

// checker holds the findings so far.
type checker struct {
	findings step.Findings
}

func (c *checker) add(at place, code, message string) {
	if len(c.findings) < findingsMax {
		c.findings = append(c.findings, step.Finding{Path: at.path(), Code: code, Message: message})
	}
}

func (c *checker) order(input json.Value) (Order, error) {
	if !c.is(json.Object, input, at("")) {
		return Order{}, nil
	}
	var order json.Value
	if err := input.Scan(json.Into("order", &order)); err != nil {
		return Order{}, err
	}
	if !c.is(json.Object, order, at("/order")) {
		return Order{}, nil
	}
	var id, customer, country, coupon, items json.Value
	err := order.Scan(json.Into("id", &id), json.Into("customer", &customer), json.Into("country", &country),
		json.Into("coupon", &coupon), json.Into("items", &items))
	if err != nil {
		return Order{}, err
	}

	var good Order
	good.ID = c.text(id, at("/order/id"))
	c.matches(isEmail, customer, at("/order/customer"))
	c.matches(isCountry, country, at("/order/country"))
	if !isNothing(coupon) {
		good.Coupon = c.matches(isCoupon, coupon, at("/order/coupon"))
	}
	good.TotalCents, good.ItemCount, err = c.items(items)
	return good, err
}

func isNothing(value json.Value) bool {
	return value.Kind() == json.Missing || value.Kind() == json.Null
}

func (c *checker) is(kind json.Kind, value json.Value, at place) bool {
	if isNothing(value) {
		c.add(at, required, "a value is needed here")
		return false
	}
	if value.Kind() != kind {
		c.add(at, malformed, "the value has the wrong type")
		return false
	}
	return true
}

// text is an id or a stock number.
func (c *checker) text(value json.Value, at place) string {
	if !c.is(json.String, value, at) {
		return ""
	}
	text, _ := value.Text()
	switch {
	case text == "":
		c.add(at, required, "the text is empty")
	case len(text) > idBytesMax:
		c.add(at, outOfRange, "at most 64 bytes")
	}
	return text
}

func (c *checker) matches(rule func(string) bool, value json.Value, at place) string {
	if !c.is(json.String, value, at) {
		return ""
	}
	text, _ := value.Text()
	if !rule(text) {
		c.add(at, malformed, "the text is not in the form that is wanted here")
	}
	return text
}

func (c *checker) number(value json.Value, least, most int64, at place) (number uint64, ok bool) {
	if isNothing(value) {
		c.add(at, required, "a value is needed here")
		return 0, false
	}
	integer, ok := value.Int()
	if !ok {
		c.add(at, malformed, "the value has the wrong type")
		return 0, false
	}
	if integer < least || integer > most {
		c.add(at, outOfRange, "the number is too small or too large")
		return 0, false
	}
	return uint64(integer), true
}

// items sums up the prices in cents, and the quantities.
func (c *checker) items(items json.Value) (total, count uint64, err error) {
	if !c.is(json.List, items, at("/order/items")) {
		return 0, 0, nil
	}
	fits, empty := true, true
	var line line
	// Made once for all items: nothing is freed while the step runs, and there may be many.
	members := []json.Field{
		json.Into("sku", &line.sku), json.Into("quantity", &line.quantity), json.Into("price_cents", &line.cents),
	}
	for index, item := range items.Items() {
		empty = false
		if !c.is(json.Object, item, atItem(index, "")) {
			continue
		}
		if err := item.Scan(members...); err != nil {
			return 0, 0, err
		}
		cents, quantity := c.line(index, &line)
		over, price := bits.Mul64(cents, quantity)
		var overTotal, overCount uint64
		total, overTotal = bits.Add64(total, price, 0)
		count, overCount = bits.Add64(count, quantity, 0)
		fits = fits && over+overTotal+overCount == 0
	}
	if empty {
		c.add(at("/order/items"), required, "an order has at least one item")
	}
	if !fits && len(c.findings) == 0 {
		c.add(at("/order/items"), outOfRange, "the total is too large to be counted")
	}
	return total, count, nil
}

// line is one item as the caller sent it.
type line struct {
	sku, quantity, cents json.Value
}

// line gives the price of one piece in cents, and the quantity.
func (c *checker) line(index int, item *line) (cents, quantity uint64) {
	c.text(item.sku, atItem(index, "/sku"))
	quantity, _ = c.number(item.quantity, 1, quantityMax, atItem(index, "/quantity"))
	cents, _ = c.number(item.cents, 0, math.MaxInt64, atItem(index, "/price_cents"))
	return cents, quantity
}

// isEmail is enough to catch a typing error. Whether somebody reads it, only a letter can tell.
func isEmail(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] == 0x7f {
			return false
		}
	}
	local, domain, found := strings.Cut(text, "@")
	if !found || local == "" || len(text) > emailBytesMax || strings.Contains(domain, "@") {
		return false
	}
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" {
			return false
		}
	}
	return len(labels) >= 2
}

// isCountry knows the form of ISO 3166-1 alpha-2.
func isCountry(text string) bool {
	return len(text) == 2 && isUpper(text[0]) && isUpper(text[1])
}

func isCoupon(text string) bool {
	for i := range len(text) {
		if c := text[i]; !isUpper(c) && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= couponBytesMax
}

func isUpper(c byte) bool {
	return c >= 'A' && c <= 'Z'
}
