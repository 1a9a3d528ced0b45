// A step that does what its input says, and tells what came of it: all types of the interface, both ways.
//
// It knows the gateway by package step alone, as any author's file does. The same input and the same answers of the host
// end it as they end the mirrors in other languages.
package main

import (
	"example.com/mirror/step"
	"example.com/mirror/step/json"
)

func init() {
	step.Run(mirror)
}

func main() {}

func mirror(input json.Value) (step.Completed, error) {
	answers := []any{}
	for _, call := range input.Get("calls").Items() {
		answer, err := answerTo(call)
		if err != nil {
			return step.Completed{}, err
		}
		answers = append(answers, answer)
	}
	for how, told := range input.Get("end").Members() {
		return end(how, told, answers)
	}
	return step.Completed{Output: answers}, nil
}

func end(how string, told json.Value, answers []any) (step.Completed, error) {
	switch how {
	case "completed":
		completed := step.Completed{Output: answers}
		if output := told.Get("output"); output.Kind() != json.Missing {
			completed.Output = output
		}
		if next := told.Get("next"); next.Kind() == json.List {
			completed.Next = []string{}
			for _, id := range next.Items() {
				completed.Next = append(completed.Next, text(id))
			}
		}
		return completed, nil
	case "invalid":
		findings := step.Findings{}
		for _, f := range told.Items() {
			findings = append(findings, step.Finding{
				Path: text(f.Get("path")), Code: text(f.Get("code")), Message: text(f.Get("message")),
			})
		}
		return step.Completed{}, findings
	case "failed":
		return step.Completed{}, failed(told)
	}
	message, _ := told.Text()
	panic(message)
}

func failed(told json.Value) error {
	failure := step.Failed(text(told.Get("code")), text(told.Get("message")))
	if retryable, _ := told.Get("retryable").Bool(); retryable {
		failure.Retryable()
	}
	if wait, given := told.Get("retry_after_ms").Int(); given {
		failure.RetryAfterMs(uint32(wait))
	}
	if details := told.Get("details"); details.Kind() != json.Missing {
		failure.Details(details)
	}
	return failure
}

func answerTo(call json.Value) (any, error) {
	for name, args := range call.Members() {
		switch name {
		case "send":
			return send(args)
		case "query":
			rows, err := step.Query(text(args.Get("connection")), text(args.Get("sql")), paramsOf(args)...)
			if err != nil {
				return nil, err
			}
			return new(json.Map).Set("rows", rows), nil
		case "execute":
			changed, err := step.Exec(text(args.Get("connection")), text(args.Get("sql")), paramsOf(args)...)
			if err != nil {
				return nil, err
			}
			return new(json.Map).Set("changed", changed), nil
		case "log":
			return write(args)
		case "get":
			return get(text(args))
		case "set":
			return nil, step.Set(text(args.Get("key")), args.Get("value"))
		case "current":
			return current(), nil
		case "echo":
			return echo(args), nil
		case "try":
			return try(args)
		}
	}
	return nil, step.Failed("call", "the call is none of a mirror's")
}

// try answers with the host's refusal, which then is not the end.
func try(call json.Value) (any, error) {
	answer, err := answerTo(call)
	if refused, ok := err.(*step.HostError); ok {
		told := new(json.Map).Set("code", refused.Code()).Set("message", refused.Text)
		return new(json.Map).Set("error", told), nil
	}
	return answer, err
}

func paramsOf(args json.Value) []any {
	params := []any{}
	for _, param := range args.Get("params").Items() {
		params = append(params, param)
	}
	return params
}

func send(args json.Value) (any, error) {
	request := step.Request{Method: text(args.Get("method")), URL: text(args.Get("url"))}
	for _, pair := range args.Get("headers").Items() {
		var header step.Header
		for i, part := range pair.Items() {
			header[i] = text(part)
		}
		request.Header = append(request.Header, header)
	}
	if digits, given := args.Get("body").Text(); given {
		request.Body = bytes(digits)
	}
	if limit, given := args.Get("timeout_ms").Int(); given {
		request = request.Within(uint32(limit))
	}
	answer, err := request.Send()
	if err != nil {
		return nil, err
	}
	headers := []any{}
	for _, header := range answer.Header {
		headers = append(headers, header[:])
	}
	return new(json.Map).
		Set("status", answer.Status).
		Set("headers", headers).
		Set("body", hexadecimal(answer.Body)), nil
}

func write(args json.Value) (any, error) {
	fields := []any{}
	for name, value := range args.Get("fields").Members() {
		fields = append(fields, name, value)
	}
	message := text(args.Get("message"))
	switch text(args.Get("level")) {
	case "debug":
		step.Debug(message, fields...)
	case "info":
		step.Info(message, fields...)
	case "warn":
		step.Warn(message, fields...)
	case "error":
		step.Error(message, fields...)
	}
	return nil, nil
}

func get(key string) (any, error) {
	value, err := step.Get(key)
	if err != nil {
		return nil, err
	}
	answer := new(json.Map)
	if value.Kind() != json.Missing {
		answer.Set("value", value)
	}
	return answer, nil
}

// current tells what the execution is; of what is another in each call, how long it is.
func current() *json.Map {
	now := step.Current()
	return new(json.Map).
		Set("execution_id_bytes", len(now.ID)).
		Set("module", now.Module).
		Set("version", now.Version).
		Set("function", now.Function).
		Set("job", optional(now.Job)).
		Set("run_id", optional(now.RunID)).
		Set("step_id", optional(now.StepID)).
		Set("attempt", now.Attempt).
		Set("idempotency_key_bytes", len(now.IdempotencyKey))
}

func optional(id string) any {
	if id == "" {
		return nil
	}
	return id
}

// echo reads a value to the last, and makes it once more.
func echo(value json.Value) any {
	switch value.Kind() {
	case json.Bool:
		is, _ := value.Bool()
		return is
	case json.Number:
		return echoNumber(value)
	case json.String:
		return text(value)
	case json.List:
		items := []any{}
		for _, item := range value.Items() {
			items = append(items, echo(item))
		}
		return items
	case json.Object:
		object := new(json.Map)
		for name, member := range value.Members() {
			object.Set(name, echo(member))
		}
		return object
	}
	return nil
}

func echoNumber(value json.Value) any {
	if number, fits := value.Int(); fits {
		return number
	}
	if number, fits := value.Uint(); fits {
		return number
	}
	number, _ := value.Float()
	return json.Float(number)
}

func text(value json.Value) string {
	text, _ := value.Text()
	return text
}

const digits = "0123456789abcdef"

func hexadecimal(bytes []byte) string {
	text := make([]byte, 0, 2*len(bytes))
	for _, b := range bytes {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

func bytes(text string) []byte {
	bytes := make([]byte, len(text)/2)
	for i := range bytes {
		bytes[i] = valueOf(text[2*i])<<4 | valueOf(text[2*i+1])
	}
	return bytes
}

func valueOf(digit byte) byte {
	if digit >= 'a' {
		return digit - 'a' + 10
	}
	return digit - '0'
}
