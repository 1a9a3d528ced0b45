package main

import (
	"math"
	"strings"
	"testing"

	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

// What tests/*.json can't say. The rules themselves are there, for all languages.

func read(t *testing.T, input string) (Order, error) {
	t.Helper()
	value, err := json.Parse(input)
	if err != nil {
		t.Fatal(err)
	}
	return readOrder(value)
}

func TestAGoodOrderIsPriced(t *testing.T) {
	order, err := read(t, `{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "coupon": "TEN",
		"items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}]}}`)
	wanted := Order{ID: "A-17", Coupon: "TEN", TotalCents: 2500, ItemCount: 2}
	if err != nil || order != wanted {
		t.Errorf("%+v, %v", order, err)
	}
}

func TestAMemberThatStandsTwiceIsTheErrorOfTheWholeInput(t *testing.T) {
	for input, wanted := range map[string]string{
		`{"order": {}, "order": {}}`:                                                    "line 1 column 21",
		"{\"order\": {\"id\": \"A\",\n \"\\u0069d\" : \"B\"}}":                          "line 2 column 11",
		`{"order": {"items": [{"sku": 1, "sku": 2}]}}`:                                  "line 1 column 37",
		`{"order": {"items": [` + strings.Repeat("5,", 200) + `{"sku": 1, "sku": 2}]}}`: "line 1 column 437",
	} {
		_, err := read(t, input)
		if err == nil || !strings.HasSuffix(err.Error(), wanted) {
			t.Errorf("%s: %v, wanted %s", input, err, wanted)
		}
	}
	for _, input := range []string{`{"x": 1, "x": 2}`, `{"order": {"x": 1, "x": 2, "id": {"y": 1, "y": 2}}}`} {
		if _, err := read(t, input); err == nil || strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v", input, err)
		}
	}
}

func TestInputThatIsNoJSONIsToldWithItsPlace(t *testing.T) {
	var fake step.Fake
	outcome := fake.Call("{\"order\":\n  nul}")
	wanted := step.Finding{Path: "", Code: "malformed", Message: "not what the step reads, at line 2 column 6"}
	if len(outcome.Findings) != 1 || outcome.Findings[0] != wanted {
		t.Errorf("%+v", outcome)
	}
}

func TestAHostileOrderGetsABoundedAnswer(t *testing.T) {
	for _, items := range []string{strings.Repeat("5,", 100_000) + "5", strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000)} {
		_, err := read(t, `{"order": {"id": "A", "customer": "a@b.c", "country": "DE", "items": [`+items+`]}}`)
		if findings, ok := err.(step.Findings); !ok || len(findings) > findingsMax {
			t.Errorf("%T", err)
		}
	}
}

func TestADiscountNeverOverflows(t *testing.T) {
	for _, c := range []struct {
		cents   uint64
		percent uint64
		part    uint64
	}{{999, 10, 99}, {0, 100, 0}, {math.MaxUint64, 100, math.MaxUint64}, {math.MaxUint64, 99, 18262276632972456098}} {
		if part := discount(c.cents, c.percent); part != c.part {
			t.Errorf("%d %% of %d is %d, and should be %d", c.percent, c.cents, part, c.part)
		}
	}
}
