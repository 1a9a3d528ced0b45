package main

import "testing"

// What tests/*.json can't say.

func TestAKilogramThatHasBegunIsPaidFor(t *testing.T) {
	for grams, wanted := range map[uint64]uint64{1: 490, 1_000: 490, 1_001: 610, 2_000: 610, 2_001: 730} {
		if is := cents(grams); is != wanted {
			t.Errorf("%d g cost %d, and should cost %d", grams, is, wanted)
		}
	}
}

func TestTheLargestParcelHasAPrice(t *testing.T) {
	largest := parcel{sideMax, sideMax, sideMax, weightMax}
	if grams := largest.billableGrams(); grams != 1_600_000 || cents(grams) != 192_370 {
		t.Errorf("%d g, %d cents", grams, cents(grams))
	}
}
