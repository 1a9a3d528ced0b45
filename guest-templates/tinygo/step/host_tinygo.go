//go:build tinygo

package step

//go:generate go tool wit-bindgen-go generate -w job-step --out ../internal --package-root example.com/order-check/internal ../wit/deps/sluice-step

import (
	"go.bytecodealliance.org/cm"

	"example.com/order-check/internal/sluice/step/context"
	"example.com/order-check/internal/sluice/step/db"
	"example.com/order-check/internal/sluice/step/http"
	jobstep "example.com/order-check/internal/sluice/step/job-step"
	"example.com/order-check/internal/sluice/step/log"
	"example.com/order-check/internal/sluice/step/types"
)

// Run makes a function the component's run. Call it in an init: the gateway calls no main.
func Run(function Function) {
	jobstep.Exports.Run = Export(function)
}

func hostError(err *types.HostError) error {
	// The kinds have the order of the variant's cases, and each case holds a text.
	return &HostError{Kind: HostErrorKind(err.Tag()), Text: *cm.Case[string](err, err.Tag())}
}

func hostLog(level Level, message string, fields [][2]string) {
	lowered := make([]cm.Tuple[string, types.JSON], len(fields))
	for i, field := range fields {
		lowered[i] = cm.Tuple[string, types.JSON]{F0: utf8(field[0]), F1: types.JSON(field[1])}
	}
	log.Write(log.Level(level), utf8(message), cm.ToList(lowered))
}

func hostCurrent() Execution {
	current := context.Current()
	return Execution{
		ID: current.ExecutionID, Module: current.Module, Version: current.Version, Function: current.Function,
		Job: current.Job.Value(), RunID: current.RunID.Value(), StepID: current.StepID.Value(),
		Attempt: current.Attempt, IdempotencyKey: current.IdempotencyKey,
	}
}

func hostGet(key string) (text string, found bool, err error) {
	result := context.Get(utf8(key))
	if result.IsErr() {
		return "", false, hostError(result.Err())
	}
	value := result.OK().Some()
	if value == nil {
		return "", false, nil
	}
	return string(*value), true, nil
}

func hostSet(key, value string) error {
	result := context.Set(utf8(key), types.JSON(value))
	if result.IsErr() {
		return hostError(result.Err())
	}
	return nil
}

func hostSend(r Request) (Response, error) {
	headers := make([]http.Header, len(r.Header))
	for i, header := range r.Header {
		headers[i] = http.Header{utf8(header[0]), utf8(header[1])}
	}
	request := http.Request{Method: utf8(r.Method), URL: utf8(r.URL), Headers: cm.ToList(headers)}
	if r.Body != nil {
		request.Body = cm.Some(cm.ToList(r.Body))
	}
	if r.TimeoutMs != nil {
		request.TimeoutMs = cm.Some(*r.TimeoutMs)
	}
	result := http.Send(request)
	if result.IsErr() {
		return Response{}, hostError(result.Err())
	}
	answer := result.OK()
	response := Response{Status: int(answer.Status), Body: answer.Body.Slice()}
	for _, header := range answer.Headers.Slice() {
		response.Header = append(response.Header, Header(header))
	}
	return response, nil
}

func hostQuery(connection, sql, params string) (rows string, err error) {
	result := db.Query(utf8(connection), utf8(sql), types.JSON(params))
	if result.IsErr() {
		return "", hostError(result.Err())
	}
	return string(*result.OK()), nil
}

func hostExecute(connection, sql, params string) (changed uint32, err error) {
	result := db.Execute(utf8(connection), utf8(sql), types.JSON(params))
	if result.IsErr() {
		return 0, hostError(result.Err())
	}
	return *result.OK(), nil
}
