package main

import (
	"strings"
	"testing"

	"example.com/order-check/step"
)

// What tests/*.json can't say.

func TestALongListGetsABoundedAnswer(t *testing.T) {
	languages := strings.Repeat("5,", 100_000) + "5"
	var fake step.Fake
	outcome := fake.Call(`{"name": "a", "email": "a@b.c", "age": 18, "languages": [` + languages + `]}`)
	if len(outcome.Findings) != languagesMax+1 {
		t.Errorf("%d findings", len(outcome.Findings))
	}
}

func TestAddressesAreToldFromWhatOnlyLooksLikeOne(t *testing.T) {
	for text, good := range map[string]bool{"a@b.c": true, "ada": false, "@b.c": false, "a@b": false, "a@b@c.d": false} {
		if isEmail(text) != good {
			t.Errorf("%q", text)
		}
	}
}
