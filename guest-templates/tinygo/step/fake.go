//go:build !tinygo

package step

// Fake is the gateway in tests with ordinary Go. One at a time: the step's calls know only one gateway.
//
//	fake := step.Fake{Data: map[string]string{"region": `"us"`}}
//	outcome := fake.Call(`{"order": {}}`)
type Fake struct {
	// The job's data by key as JSON, exactly as the step names the key.
	Data      map[string]string
	Execution Execution
	// What other servers and databases answer: rows as a JSON list. A call that has no answer here is NotFound.
	Send    func(Request) (Response, error)
	Query   func(connection, sql, params string) (rows string, err error)
	Execute func(connection, sql, params string) (changed uint32, err error)
	// The lines that the step has written.
	Lines []Line
}

// Line is one line of the log.
type Line struct {
	Level   Level
	Message string
	// Names, and values as JSON.
	Fields [][2]string
}

// Outcome is what the gateway would be told: Failure, if it is there, else Findings, if it isn't nil, else Output.
type Outcome struct {
	// JSON.
	Output   string
	Next     []string
	Findings Findings
	Failure  *FailureFields
}

// FailureFields is all that a Failure holds.
type FailureFields struct {
	Code, Message string
	Retryable     bool
	RetryAfterMs  *uint32
	// JSON, or nothing.
	Details string
}

var (
	registered Function
	gateway    = &Fake{}
)

// Run makes a function the component's run.
func Run(function Function) {
	registered = function
}

// Call runs the function that Run was given. The input is JSON.
func (f *Fake) Call(input string) Outcome {
	gateway = f
	told := answer(registered, input)
	seen := Outcome{Output: told.output, Next: told.next, Findings: told.findings}
	if failure := told.failure; failure != nil {
		seen.Failure = &FailureFields{
			failure.code, failure.message, failure.retryable, failure.retryAfterMs, failure.details,
		}
	}
	return seen
}

var errNoAnswer = &HostError{Kind: NotFound, Text: "the fake has no answer"}

func hostLog(level Level, message string, fields [][2]string) {
	gateway.Lines = append(gateway.Lines, Line{level, message, fields})
}

func hostCurrent() Execution {
	return gateway.Execution
}

func hostGet(key string) (text string, found bool, err error) {
	text, found = gateway.Data[key]
	return text, found, nil
}

func hostSet(key, value string) error {
	if gateway.Data == nil {
		gateway.Data = map[string]string{}
	}
	gateway.Data[key] = value
	return nil
}

func hostSend(request Request) (Response, error) {
	if gateway.Send == nil {
		return Response{}, errNoAnswer
	}
	return gateway.Send(request)
}

func hostQuery(connection, sql, params string) (rows string, err error) {
	if gateway.Query == nil {
		return "", errNoAnswer
	}
	return gateway.Query(connection, sql, params)
}

func hostExecute(connection, sql, params string) (changed uint32, err error) {
	if gateway.Execute == nil {
		return 0, errNoAnswer
	}
	return gateway.Execute(connection, sql, params)
}
