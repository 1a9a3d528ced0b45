package main

import (
	"slices"
	"testing"
)

// What tests/*.json can't say.

func TestTheBoundsThemselvesAreOnTheCheaperSide(t *testing.T) {
	for cents, wanted := range map[int64][]string{
		5_000: {"pay"}, 5_001: {"manager"}, 100_000: {"manager"}, 100_001: {"manager", "finance"},
	} {
		if next, _ := nextOf(cents); !slices.Equal(next, wanted) {
			t.Errorf("%d: %v", cents, next)
		}
	}
}
