// Package handler is the thin layer between a function and the server that runs it: the same for every HTTP function.
//
// It reads a request and writes its response, each as a whole. Every request has one response; only a panic is a trap.
package handler

import "example.com/order-check/step/json"

// Function is what an author writes.
type Function func(Request) Response

// Request is what was asked.
type Request struct {
	// As it came: GET.
	Method string
	// Never empty, and without the query: /words.
	Path string
	// What is behind the question mark.
	Query string
	// Names are in small letters.
	Header []Field
	Body   []byte
}

// Field is the name and the value of a header.
type Field [2]string

// Response is what is answered. Its content-length comes by itself.
type Response struct {
	Status int
	Header []Field
	Body   []byte
}

// Text is a response of plain text.
func Text(status int, text string) Response {
	return Response{status, []Field{{"content-type", "text/plain; charset=utf-8"}}, []byte(text)}
}

// JSON is a response with a value that package json can write; any other is a status of 500.
func JSON(status int, value any) Response {
	text, err := json.Marshal(value)
	if err != nil {
		return Text(500, "the answer can't be written\n")
	}
	return Response{status, []Field{{"content-type", "application/json"}}, []byte(text)}
}

// With is the response with one more header.
func (r Response) With(name, value string) Response {
	r.Header = append(r.Header, Field{name, value})
	return r
}
