package step

import "example.com/order-check/step/json"

// Execution says what is running.
type Execution struct {
	ID, Module, Version, Function string
	// Empty when the step was invoked on its own, outside a job.
	Job, RunID, StepID string
	// 1 for the first attempt.
	Attempt uint32
	// The same for every attempt of this step of this run: what to send to others as their idempotency key.
	IdempotencyKey string
}

// Current tells what this execution is.
func Current() Execution {
	return hostCurrent()
}

// Get is the value at a key of the job's data, Missing where there is none. The key is a top-level name, or a JSON
// Pointer where it starts with a slash.
func Get(key string) (json.Value, error) {
	text, found, err := hostGet(key)
	if err != nil || !found {
		return json.Value{}, err
	}
	value, err := json.Parse(text)
	if err != nil {
		return json.Value{}, wrongType(key)
	}
	return value, nil
}

// GetText is the text at a key of the job's data. A value of another type is an error of the data.
func GetText(key string) (text string, found bool, err error) {
	value, err := Get(key)
	if err != nil || value.Kind() == json.Missing {
		return "", false, err
	}
	if text, found = value.Text(); !found {
		return "", false, wrongType(key)
	}
	return text, true, nil
}

// GetInt is the integer at a key of the job's data. A value of another type is an error of the data.
func GetInt(key string) (number int64, found bool, err error) {
	value, err := Get(key)
	if err != nil || value.Kind() == json.Missing {
		return 0, false, err
	}
	if number, found = value.Int(); !found {
		return 0, false, wrongType(key)
	}
	return number, true, nil
}

// Set sets the value at a key of the job's data. Kept when the step completes, dropped when it does not.
func Set(key string, value any) error {
	text, err := marshal(value)
	if err != nil {
		return err
	}
	return hostSet(key, text)
}

func wrongType(key string) error {
	path := key
	if key == "" || key[0] != '/' {
		path = "/" + key
	}
	return Invalid(path, "malformed", "not of the type that the step reads")
}
