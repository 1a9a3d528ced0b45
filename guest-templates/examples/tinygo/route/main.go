// A job step that decides which steps run next: who has to approve an expense claim.
//
// Here are the bounds. The way to the gateway is in step/. It names only steps that the job allows in its routes.
package main

import (
	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

const (
	// Up to this the receipt is enough.
	smallCents = 5_000
	// Above this a manager alone can't approve.
	largeCents = 100_000
)

func init() {
	step.Run(route)
}

// The gateway never calls it; Go wants one.
func main() {}

func route(input json.Value) (step.Completed, error) {
	id, ok := input.Get("id").Text()
	if !ok {
		return step.Completed{}, step.Invalid("/id", "malformed", "a text is needed here")
	}
	cents, ok := input.Get("amount_cents").Int()
	if !ok {
		return step.Completed{}, step.Invalid("/amount_cents", "malformed", "an integer is needed here")
	}
	if cents < 0 {
		return step.Completed{}, step.Invalid("/amount_cents", "out-of-range", "0 or more")
	}
	next, approvals := nextOf(cents)
	step.Info("claim routed", "id", id, "approvals", approvals)
	return step.Completed{Output: new(json.Map).Set("approvals", approvals), Next: next}, nil
}

// nextOf names the steps of the job that run next, and how many of them are approvals. Several run side by side; an empty
// list, other than nil, ends the job here.
func nextOf(cents int64) (steps []string, approvals int) {
	switch {
	case cents == 0:
		return []string{}, 0
	case cents <= smallCents:
		return []string{"pay"}, 0
	case cents <= largeCents:
		return []string{"manager"}, 1
	default:
		return []string{"manager", "finance"}, 2
	}
}
