// Package json reads and writes JSON (RFC 8259) without reflection.
//
// It takes the place of encoding/json, which alone makes a component of TinyGo more than four times as large.
// A document is checked once, as a whole; a [Value] is then a view of its text, so reading copies nothing
// but texts with escapes. Nothing here recurses on what is read: depth costs memory, never stack.
package json

import (
	"iter"
	"strconv"
)

// Kind is the JSON type of a value.
type Kind uint8

const (
	// Missing is the kind of the zero Value: there is nothing, not even null.
	Missing Kind = iota
	Null
	Bool
	Number
	String
	List
	Object
)

// Value is one value of a document.
type Value struct {
	document   string
	start, end int
}

// Error says why a text could not be read, and where.
type Error struct {
	// Line counts from 1, Column the bytes of the line that were read.
	Line, Column int
	Reason       string
}

func (e *Error) Error() string {
	return e.Reason + " at line " + strconv.Itoa(e.Line) + " column " + strconv.Itoa(e.Column)
}

// Kind tells what the value is.
func (v Value) Kind() Kind {
	if v.start == v.end {
		return Missing
	}
	switch v.document[v.start] {
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case '"':
		return String
	case '[':
		return List
	case '{':
		return Object
	}
	return Number
}

// JSON is the value as it was written, "" where there is none.
func (v Value) JSON() string {
	return v.document[v.start:v.end]
}

// Text is the text of a String.
func (v Value) Text() (text string, ok bool) {
	if v.Kind() != String {
		return "", false
	}
	return unescape(v.document[v.start+1 : v.end-1]), true
}

// Bool is the value of a Bool.
func (v Value) Bool() (value, ok bool) {
	return v.JSON() == "true", v.Kind() == Bool
}

// Int is the value of a Number that is written as an integer and fits: 1.0, 1e2 and -0 are none.
func (v Value) Int() (number int64, ok bool) {
	if v.Kind() != Number || v.JSON() == "-0" {
		return 0, false
	}
	number, err := strconv.ParseInt(v.JSON(), 10, 64)
	return number, err == nil
}

// Uint is the same for what a uint64 can hold.
func (v Value) Uint() (number uint64, ok bool) {
	if v.Kind() != Number {
		return 0, false
	}
	number, err := strconv.ParseUint(v.JSON(), 10, 64)
	return number, err == nil
}

// Float is the value of a Number, rounded to what a float64 can hold.
//
// Inlined, its digits would stand in the frame of whoever calls it: a kilobyte for each level of a function that recurses.
//
//go:noinline
func (v Value) Float() (number float64, ok bool) {
	if v.Kind() != Number {
		return 0, false
	}
	number, err := strconv.ParseFloat(v.JSON(), 64)
	return number, err == nil
}

// Items are the values of a List; of any other kind there are none.
func (v Value) Items() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		if v.Kind() != List {
			return
		}
		at := skipSpace(v.document, v.start+1)
		for index := 0; v.document[at] != ']'; index++ {
			item := v.at(at)
			if !yield(index, item) {
				return
			}
			at = nextElement(v.document, item.end)
		}
	}
}

// Members are the names and values of an Object, as they stand; of any other kind there are none.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for m := v.firstMember(); m.there; m = v.memberAt(m.next) {
			if !yield(m.name, m.value) {
				return
			}
		}
	}
}

// Get is the last member of that name, or Missing. To read several, Scan is quicker.
func (v Value) Get(name string) Value {
	var found Value
	for m := v.firstMember(); m.there; m = v.memberAt(m.next) {
		if m.name == name {
			found = m.value
		}
	}
	return found
}

// Field is a member that Scan looks for.
type Field struct {
	name string
	into *Value
}

// Into names a member, and where it goes.
func Into(name string, into *Value) Field {
	return Field{name, into}
}

// Scan reads members of an object in one pass, and ignores the others. What isn't there, or is in no object, becomes
// Missing. A member that is wanted and stands there twice is an *Error: which one counts, nobody has said.
func (v Value) Scan(fields ...Field) error {
	for _, field := range fields {
		*field.into = Value{}
	}
	for m := v.firstMember(); m.there; m = v.memberAt(m.next) {
		for _, field := range fields {
			if field.name != m.name {
				continue
			}
			if field.into.Kind() != Missing {
				return fault(v.document, m.colon, "a member stands twice")
			}
			*field.into = m.value
		}
	}
	return nil
}

// memberView is where a member stands. A loop over these needs no memory, as one with a function would.
type memberView struct {
	name        string
	value       Value
	colon, next int
	there       bool
}

func (v Value) firstMember() memberView {
	if v.Kind() != Object {
		return memberView{}
	}
	return v.memberAt(skipSpace(v.document, v.start+1))
}

// memberAt is the member that starts there, or nothing at the end of the object.
func (v Value) memberAt(start int) memberView {
	if v.document[start] == '}' {
		return memberView{}
	}
	name := v.at(start)
	colon := skipSpace(v.document, name.end)
	value := v.at(skipSpace(v.document, colon+1))
	return memberView{
		unescape(v.document[name.start+1 : name.end-1]), value, colon, nextElement(v.document, value.end), true,
	}
}

// at is the value that starts there.
func (v Value) at(start int) Value {
	return Value{v.document, start, skipValue(v.document, start)}
}

// nextElement is the place of the next item or member, or of the bracket after the last one.
func nextElement(document string, at int) int {
	at = skipSpace(document, at)
	if document[at] == ',' {
		at = skipSpace(document, at+1)
	}
	return at
}

// skipValue is the end of a value of a document that was checked.
func skipValue(document string, at int) int {
	depth := 0
	for {
		switch document[at] {
		case '"':
			at = skipText(document, at)
		case '[', '{':
			depth++
			at++
		case ']', '}':
			depth--
			at++
		case ' ', '\t', '\n', '\r', ',', ':':
			at++
			continue
		default:
			at = skipWord(document, at)
		}
		if depth == 0 {
			return at
		}
	}
}

func skipText(document string, at int) int {
	for at++; document[at] != '"'; at++ {
		if document[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// skipWord is the end of a number, true, false or null.
func skipWord(document string, at int) int {
	for at < len(document) {
		switch document[at] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return at
		}
		at++
	}
	return at
}

func skipSpace(document string, at int) int {
	for at < len(document) {
		switch document[at] {
		case ' ', '\t', '\n', '\r':
			at++
		default:
			return at
		}
	}
	return at
}
