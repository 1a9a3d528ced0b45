// A job step that reads the measures of a parcel, and returns what it costs to send.
//
// Here are the prices. The way to the gateway is in step/.
package main

import (
	"strconv"

	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

const (
	// What the carrier takes.
	sideMax   = 2_000
	weightMax = 31_500
	// What is large for its weight takes the room of something heavier: 5 dm³ count as a kilogram.
	mm3PerGram = 5_000

	firstKgCents = 490
	nextKgCents  = 120
)

func init() {
	step.Run(price)
}

// The gateway never calls it; Go wants one.
func main() {}

type parcel struct {
	// In millimetres.
	length, width, height uint64
	// In grams.
	weight uint64
}

func price(input json.Value) (step.Completed, error) {
	parcel, err := read(input)
	if err != nil {
		return step.Completed{}, err
	}
	grams := parcel.billableGrams()
	output := new(json.Map).Set("billable_g", grams).Set("price_cents", cents(grams))
	return step.Completed{Output: output}, nil
}

func read(input json.Value) (p parcel, err error) {
	for _, measure := range []struct {
		name string
		most int64
		into *uint64
	}{
		{"length_mm", sideMax, &p.length},
		{"width_mm", sideMax, &p.width},
		{"height_mm", sideMax, &p.height},
		{"weight_g", weightMax, &p.weight},
	} {
		number, ok := input.Get(measure.name).Int()
		if !ok {
			return p, step.Invalid("/"+measure.name, "malformed", "an integer is needed here")
		}
		if number < 1 || number > measure.most {
			return p, step.Invalid("/"+measure.name, "out-of-range", "1 to "+strconv.FormatInt(measure.most, 10))
		}
		*measure.into = uint64(number)
	}
	return p, nil
}

func (p parcel) billableGrams() uint64 {
	return max(p.weight, p.length*p.width*p.height/mm3PerGram)
}

// cents is what so many grams cost: a kilogram that has begun is paid for.
func cents(grams uint64) uint64 {
	return firstKgCents + (grams-1)/1_000*nextKgCents
}
