// Package step is the thin layer between a step's own code and the gateway: the same for every step.
//
// What the author returns is what the gateway is told; only a panic becomes a trap. With ordinary Go, for tests, a [Fake]
// stands in for the gateway.
package step

import (
	"errors"
	"strconv"

	"example.com/order-check/step/json"
)

// Function is what an author writes. An error made by [Invalid] or [Failed], or one that a host call has given, is told
// as it is; any other becomes a failure with the code "error". One of package json means that the input can't be read.
type Function func(input json.Value) (Completed, error)

// Completed is a step that did its work.
type Completed struct {
	// Merged into the data of the job: a *json.Map key by key, all else as a whole.
	Output any
	// The steps to run next, and no others. Nil: as the job is defined. Empty, but not nil: the job ends here.
	Next []string
}

// outcome is what the gateway is told. Exactly one of output, findings and failure counts: failure, if it is there, else
// findings, if they aren't nil.
type outcome struct {
	output   string
	next     []string
	findings Findings
	failure  *Failure
}

// answer runs a step's function on its input as JSON text, and words its result for the gateway.
func answer(function Function, input string) outcome {
	value, err := json.Parse(input)
	if err != nil {
		return refusal(err)
	}
	completed, err := function(value)
	if err != nil {
		return refusal(err)
	}
	output, err := marshal(completed.Output)
	if err != nil {
		return refusal(err)
	}
	return outcome{output: output, next: completed.Next}
}

func refusal(err error) outcome {
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		switch cause := cause.(type) {
		case Findings:
			return outcome{findings: append(Findings{}, cause...)}
		case *Failure:
			return outcome{failure: cause}
		case *HostError:
			return outcome{failure: cause.failure()}
		case *json.Error:
			place := "line " + strconv.Itoa(cause.Line) + " column " + strconv.Itoa(cause.Column)
			return outcome{findings: Findings{{"", "malformed", "not what the step reads, at " + place}}}
		}
	}
	return outcome{failure: Failed("error", err.Error())}
}

func marshal(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", Failed("not-json", err.Error())
	}
	return text, nil
}
