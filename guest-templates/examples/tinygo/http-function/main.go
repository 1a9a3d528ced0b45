// An HTTP function that counts the words of a text.
//
// Here are the routes, and what is answered. How a request is read and a response written is in handler/.
package main

import (
	"strings"
	"unicode/utf8"

	"example.com/order-check/handler"
	"example.com/order-check/step/json"
)

func init() {
	handler.Serve(answer)
}

// A server never calls it; Go wants one.
func main() {}

func answer(request handler.Request) handler.Response {
	switch request.Path {
	case "/":
		if request.Method != "GET" && request.Method != "HEAD" {
			return notAllowed("GET, HEAD")
		}
		return handler.Text(200, "POST a text to /words\n")
	case "/words":
		if request.Method != "POST" {
			return notAllowed("POST")
		}
		return count(string(request.Body))
	}
	return handler.Text(404, "there is nothing here\n")
}

func count(text string) handler.Response {
	if !utf8.ValidString(text) {
		return handler.Text(415, "the text is not UTF-8\n")
	}
	words, characters := len(strings.Fields(text)), utf8.RuneCountInString(text)
	return handler.JSON(200, new(json.Map).Set("words", words).Set("characters", characters))
}

func notAllowed(allowed string) handler.Response {
	return handler.Text(405, "not with this method\n").With("allow", allowed)
}
