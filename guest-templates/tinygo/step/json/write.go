package json

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ErrUnsupported is the error of a value that can't be written: of a type that is not listed at [Append].
var ErrUnsupported = errors.New("a value that JSON can't hold")

// Map is an object whose members keep the order in which they were set. The zero value is empty and ready.
type Map struct {
	members []member
	// Where each name stands, once there are many.
	places map[string]int
}

type member struct {
	name  string
	value any
}

// Set adds a member, or replaces the one of that name. It returns the map, for objects in one expression.
func (m *Map) Set(name string, value any) *Map {
	if at := m.place(name); at >= 0 {
		m.members[at].value = value
		return m
	}
	if m.places != nil {
		m.places[name] = len(m.members)
	}
	m.members = append(m.members, member{name, value})
	return m
}

// Names of a few members are compared one by one, which most objects have.
const fewMembers = 16

// place is where a member stands, -1 where there is none of that name.
func (m *Map) place(name string) int {
	if m.places == nil && len(m.members) > fewMembers {
		m.places = map[string]int{}
		for i := range m.members {
			m.places[m.members[i].name] = i
		}
	}
	if m.places != nil {
		if at, there := m.places[name]; there {
			return at
		}
		return -1
	}
	for i := range m.members {
		if m.members[i].name == name {
			return i
		}
	}
	return -1
}

// Marshal writes a value; see [Append].
func Marshal(value any) (string, error) {
	text, err := Append(nil, value)
	return string(text), err
}

// Append writes a value behind what is there: nil, bool, string, int, int32, int64, uint, uint32, uint64, []string, []any,
// *Map, or a Value or []Value, which stay as they were written. For a float64 use [Float]; the code that writes one is then part of
// the component, and otherwise not.
func Append(text []byte, value any) ([]byte, error) {
	switch value := value.(type) {
	case nil:
		return append(text, "null"...), nil
	case bool:
		return strconv.AppendBool(text, value), nil
	case string:
		return AppendString(text, value), nil
	case int:
		return strconv.AppendInt(text, int64(value), 10), nil
	case int32:
		return strconv.AppendInt(text, int64(value), 10), nil
	case int64:
		return strconv.AppendInt(text, value, 10), nil
	case uint:
		return strconv.AppendUint(text, uint64(value), 10), nil
	case uint32:
		return strconv.AppendUint(text, uint64(value), 10), nil
	case uint64:
		return strconv.AppendUint(text, value, 10), nil
	case Value:
		if value.Kind() == Missing {
			return append(text, "null"...), nil
		}
		return append(text, value.JSON()...), nil
	case *Map:
		return appendMap(text, value)
	case []string:
		return appendList(text, value)
	case []any:
		return appendList(text, value)
	case []Value:
		return appendList(text, value)
	}
	return text, ErrUnsupported
}

// Float is a number as a value to write. JSON has no infinities and no NaN: they become null.
func Float(number float64) Value {
	text := "null"
	if !math.IsInf(number, 0) && !math.IsNaN(number) {
		text = strconv.FormatFloat(number, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			// Without it, it would be read as an integer.
			text += ".0"
		}
	}
	return Value{text, 0, len(text)}
}

func appendMap(text []byte, object *Map) ([]byte, error) {
	text = append(text, '{')
	for i, member := range object.members {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(AppendString(text, member.name), ':')
		var err error
		if text, err = Append(text, member.value); err != nil {
			return text, err
		}
	}
	return append(text, '}'), nil
}

func appendList[T any](text []byte, list []T) ([]byte, error) {
	text = append(text, '[')
	for i, item := range list {
		if i > 0 {
			text = append(text, ',')
		}
		var err error
		if text, err = Append(text, item); err != nil {
			return text, err
		}
	}
	return append(text, ']'), nil
}

const hexDigits = "0123456789abcdef"

// AppendString writes a text with its quotes. Bytes that are not UTF-8 become U+FFFD.
func AppendString(text []byte, value string) []byte {
	text = append(text, '"')
	value = strings.ToValidUTF8(value, "\uFFFD")
	start := 0
	for i := range len(value) {
		c := value[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		text = append(text, value[start:i]...)
		text = appendEscape(text, c)
		start = i + 1
	}
	return append(append(text, value[start:]...), '"')
}

func appendEscape(text []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(text, '\\', c)
	case '\b':
		return append(text, `\b`...)
	case '\f':
		return append(text, `\f`...)
	case '\n':
		return append(text, `\n`...)
	case '\r':
		return append(text, `\r`...)
	case '\t':
		return append(text, `\t`...)
	}
	return append(text, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
