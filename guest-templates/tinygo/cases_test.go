package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/order-check/step"
)

// The cases of sluice test, on this machine and without a component: all of the step but the way to the gateway.

type testCase struct {
	Input json.RawMessage
	Data  map[string]json.RawMessage
	HTTP  []httpCall
	DB    []dbCall
	// What isn't there is not compared.
	Expect struct {
		Status                                    string
		Output, Next, Data, Errors, Failure, Logs json.RawMessage
	}
}

type httpCall struct {
	Request struct {
		Method, URL string
		Headers     []step.Header
	}
	Response struct {
		Status int
		Body   json.RawMessage
	}
	Error map[string]string
}

type dbCall struct {
	Connection, SQL string
	Params, Rows    json.RawMessage
	Changed         uint32
	Error           map[string]string
}

func TestCases(t *testing.T) {
	files, _ := filepath.Glob("tests/*.json")
	if len(files) == 0 {
		t.Fatal("there are no cases")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c testCase
			if err := json.Unmarshal(text, &c); err != nil {
				t.Fatal(err)
			}
			c.run(t)
		})
	}
}

func (c *testCase) run(t *testing.T) {
	fake := step.Fake{
		Data:      map[string]string{},
		Execution: step.Execution{IdempotencyKey: "key-1"},
		Send:      func(r step.Request) (step.Response, error) { return c.send(t, r) },
		Query: func(connection, sql, params string) (string, error) {
			call := c.database(t, connection, sql, params)
			return string(call.Rows), hostError(call.Error)
		},
		Execute: func(connection, sql, params string) (uint32, error) {
			call := c.database(t, connection, sql, params)
			return call.Changed, hostError(call.Error)
		},
	}
	for key, value := range c.Data {
		fake.Data[key] = string(value)
	}
	outcome := fake.Call(string(c.Input))
	same(t, "status", statusOf(outcome), c.Expect.Status)
	switch {
	case outcome.Failure != nil:
		told := map[string]any{
			"code": outcome.Failure.Code, "message": outcome.Failure.Message, "retryable": outcome.Failure.Retryable,
		}
		expected(t, "failure", told, c.Expect.Failure)
	case outcome.Findings != nil:
		expected(t, "errors", findings(outcome.Findings), c.Expect.Errors)
	default:
		expected(t, "output", parsed(t, outcome.Output), c.Expect.Output)
		expected(t, "next", outcome.Next, c.Expect.Next)
		expected(t, "data", dataOf(t, fake.Data), c.Expect.Data)
	}
	expected(t, "logs", linesOf(t, fake.Lines), c.Expect.Logs)
	if len(c.HTTP)+len(c.DB) > 0 {
		t.Errorf("%d calls of http and %d of db were not made", len(c.HTTP), len(c.DB))
	}
}

func (c *testCase) send(t *testing.T, r step.Request) (step.Response, error) {
	if len(c.HTTP) == 0 {
		t.Fatalf("an unexpected request: %s %s", r.Method, r.URL)
	}
	call := c.HTTP[0]
	c.HTTP = c.HTTP[1:]
	same(t, "method", r.Method, call.Request.Method)
	same(t, "url", r.URL, call.Request.URL)
	same(t, "headers", r.Header, call.Request.Headers)
	body := []byte(call.Response.Body)
	var text string
	if json.Unmarshal(body, &text) == nil {
		body = []byte(text)
	}
	return step.Response{Status: call.Response.Status, Body: body}, hostError(call.Error)
}

func (c *testCase) database(t *testing.T, connection, sql, params string) dbCall {
	if len(c.DB) == 0 {
		t.Fatalf("an unexpected statement: %s", sql)
	}
	call := c.DB[0]
	c.DB = c.DB[1:]
	same(t, "connection", connection, call.Connection)
	same(t, "sql", sql, call.SQL)
	if call.Params != nil {
		same(t, "params", parsed(t, params), parsed(t, string(call.Params)))
	}
	return call
}

var kinds = []string{"permission-denied", "invalid-argument", "not-found", "limit-exceeded", "timed-out", "failed"}

func hostError(given map[string]string) error {
	for name, text := range given {
		return &step.HostError{Kind: step.HostErrorKind(slices.Index(kinds, name)), Text: text}
	}
	return nil
}

func statusOf(outcome step.Outcome) string {
	switch {
	case outcome.Failure != nil:
		return "failed"
	case outcome.Findings != nil:
		return "invalid"
	}
	return "completed"
}

func findings(told step.Findings) []map[string]string {
	list := []map[string]string{}
	for _, finding := range told {
		list = append(list, map[string]string{"path": finding.Path, "code": finding.Code, "message": finding.Message})
	}
	return list
}

func dataOf(t *testing.T, data map[string]string) map[string]any {
	values := map[string]any{}
	for key, text := range maps.All(data) {
		values[key] = parsed(t, text)
	}
	return values
}

func linesOf(t *testing.T, lines []step.Line) []map[string]any {
	list := []map[string]any{}
	for _, line := range lines {
		fields := map[string]any{}
		for _, field := range line.Fields {
			fields[field[0]] = parsed(t, field[1])
		}
		level := []string{"debug", "info", "warn", "error"}[line.Level]
		list = append(list, map[string]any{"level": level, "message": line.Message, "fields": fields})
	}
	return list
}

func parsed(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%q is no JSON: %v", text, err)
	}
	return value
}

// expected compares with what a case has, if it has it; a RawMessage is never nil for a null.
func expected(t *testing.T, what string, is any, wanted json.RawMessage) {
	t.Helper()
	if wanted != nil {
		same(t, what, is, wanted)
	}
}

// same compares as JSON, where a list is a list whatever its type in Go.
func same(t *testing.T, what string, is, wanted any) {
	t.Helper()
	var values [2]any
	for i, value := range []any{is, wanted} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		values[i] = parsed(t, string(text))
	}
	if !reflect.DeepEqual(values[0], values[1]) {
		t.Errorf("%s is %v, and should be %v", what, values[0], values[1])
	}
}
