package main

import (
	"testing"

	"example.com/order-check/handler"
)

func ask(method, path, body string) handler.Response {
	return answer(handler.Request{Method: method, Path: path, Body: []byte(body)})
}

func TestWordsAndCharactersAreCountedInAnyScript(t *testing.T) {
	response := ask("POST", "/words", "  zwei Wörter\n")
	if response.Status != 200 || string(response.Body) != `{"words":2,"characters":14}` {
		t.Errorf("%d %s", response.Status, response.Body)
	}
	if response := ask("POST", "/words", "\xff"); response.Status != 415 {
		t.Error(response.Status)
	}
}

func TestWhatIsNotThereAndWhatIsNotAllowedAreToldApart(t *testing.T) {
	for path, wanted := range map[string]int{"/": 200, "/nothing": 404, "/words": 405} {
		if response := ask("GET", path, ""); response.Status != wanted {
			t.Errorf("%s: %d", path, response.Status)
		}
	}
	if header := ask("DELETE", "/words", "").Header; header[1] != (handler.Field{"allow", "POST"}) {
		t.Error(header)
	}
}
