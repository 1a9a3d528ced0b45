package step

import (
	"strconv"

	"example.com/order-check/step/json"
)

// Header is a name and a value.
type Header = [2]string

// Request is a question to another server, as far as the step's permissions reach. {{secret:NAME}} in a header or in the
// body is replaced on the way out.
type Request struct {
	// GET where it is empty.
	Method string
	URL    string
	Header []Header
	// None where it is nil.
	Body []byte
	// For the whole exchange; never longer than the step has left. None where it is nil: see Within. (Package time would
	// bring files and clocks into the component.)
	TimeoutMs *uint32
}

// Response is what the server said.
type Response struct {
	Status int
	Header []Header
	Body   []byte
}

// JSON is the request with a body of JSON.
func (r Request) JSON(body any) (Request, error) {
	text, err := marshal(body)
	if err != nil {
		return r, err
	}
	r.Body = []byte(text)
	r.Header = append(r.Header[:len(r.Header):len(r.Header)], Header{"content-type", "application/json"})
	return r, nil
}

// Within is the request with so many milliseconds for the whole exchange.
func (r Request) Within(timeoutMs uint32) Request {
	r.TimeoutMs = &timeoutMs
	return r
}

// Send sends it. Any status is an answer, and redirects are not followed.
func (r Request) Send() (Response, error) {
	if r.Method == "" {
		r.Method = "GET"
	}
	return hostSend(r)
}

// ErrBody is the failure of a body that isn't what the step reads.
var ErrBody = Failed("http-body", "the server's answer is not what the step reads")

// JSON is the body, where the status says that it went well. Another attempt may help with 429 and 5xx.
func (r Response) JSON() (json.Value, error) {
	if r.Status < 200 || r.Status > 299 {
		failure := Failed("http-status", "the server answered "+strconv.Itoa(r.Status))
		if r.Status == 429 || r.Status >= 500 {
			failure.Retryable()
		}
		return json.Value{}, failure
	}
	value, err := json.Parse(string(r.Body))
	if err != nil {
		return json.Value{}, ErrBody
	}
	return value, nil
}
