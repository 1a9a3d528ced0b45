package step

import (
	"strings"

	"go.bytecodealliance.org/cm"

	"example.com/order-check/internal/sluice/step/types"
)

// Export is a function as the bindings want it, for worlds with several: exports.Exports.Summarize = step.Export(summarize).
func Export(function Function) func(types.JSON) types.Outcome {
	return func(input types.JSON) types.Outcome {
		return lowerOutcome(answer(function, string(input)))
	}
}

func lowerOutcome(o outcome) types.Outcome {
	if o.failure != nil {
		return types.OutcomeFailed(lowerFailure(o.failure))
	}
	if o.findings != nil {
		return types.OutcomeInvalid(cm.ToList(lowerFindings(o.findings)))
	}
	completed := types.Completed{Output: types.JSON(o.output)}
	if o.next != nil {
		completed.Next = cm.Some(cm.ToList(o.next))
	}
	return types.OutcomeCompleted(completed)
}

func lowerFindings(findings Findings) []types.ValidationError {
	errors := make([]types.ValidationError, len(findings))
	for i, finding := range findings {
		errors[i] = types.ValidationError{
			Path: utf8(finding.Path), Code: utf8(finding.Code), Message: utf8(finding.Message),
		}
	}
	return errors
}

func lowerFailure(f *Failure) types.Failure {
	failure := types.Failure{Code: utf8(f.code), Message: utf8(f.message), Retryable: f.retryable}
	if f.retryAfterMs != nil {
		failure.RetryAfterMs = cm.Some(*f.retryAfterMs)
	}
	if f.details != "" {
		failure.Details = cm.Some(types.JSON(f.details))
	}
	return failure
}

// utf8 mends what the interface can't carry; a Go string may hold any bytes.
func utf8(text string) string {
	return strings.ToValidUTF8(text, "\uFFFD")
}
