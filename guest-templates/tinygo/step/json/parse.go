package json

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse checks a text as a whole, and gives the value that it is. The error is an *Error.
//
// Also refused is what RFC 8259 allows and no program can hold: lone surrogates, and numbers past a float64.
func Parse(document string) (Value, error) {
	p := parser{text: document}
	if !utf8.ValidString(document) {
		return Value{}, fault(document, 0, "not UTF-8")
	}
	if !p.document() {
		return Value{}, fault(document, min(p.at+1, len(document)), "not JSON")
	}
	end := len(strings.TrimRight(document, " \t\n\r"))
	return Value{document, skipSpace(document, 0), end}, nil
}

// fault is an error after so many bytes.
func fault(document string, read int, reason string) *Error {
	lines := document[:read]
	start := strings.LastIndexByte(lines, '\n') + 1
	return &Error{Line: 1 + strings.Count(lines[:start], "\n"), Column: read - start, Reason: reason}
}

// parser reads a text from left to right. When one of its methods says false, at is the byte that is wrong.
type parser struct {
	text string
	at   int
	// The brackets that are still to come, the innermost last.
	open []byte
}

// peek is the next byte, and 0, which is part of no JSON, at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) space() {
	p.at = skipSpace(p.text, p.at)
}

func (p *parser) take(wanted byte) bool {
	if p.peek() != wanted {
		return false
	}
	p.at++
	return true
}

// document reads one value and what may stand around it.
func (p *parser) document() bool {
	for {
		inside, ok := p.value()
		if !ok {
			return false
		}
		if !inside && !p.close() {
			return false
		}
		if len(p.open) == 0 {
			return p.at == len(p.text)
		}
	}
}

// value reads a scalar, or a container up to where its first value starts.
func (p *parser) value() (inside, ok bool) {
	p.space()
	switch c := p.peek(); c {
	case '[':
		return p.enter(']')
	case '{':
		return p.enter('}')
	case '"':
		return false, p.string()
	case 't':
		return false, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return false, p.word("null")
	default:
		return false, p.number()
	}
}

// enter reads an opening bracket; an empty container is read to its end.
func (p *parser) enter(end byte) (inside, ok bool) {
	p.at++
	p.space()
	if p.take(end) {
		return false, true
	}
	p.open = append(p.open, end)
	return true, end == ']' || p.name()
}

// close reads what follows a value: brackets, up to the comma with the name behind it.
func (p *parser) close() bool {
	for {
		p.space()
		if len(p.open) == 0 {
			return true
		}
		end := p.open[len(p.open)-1]
		if p.take(',') {
			p.space()
			return end == ']' || p.name()
		}
		if !p.take(end) {
			return false
		}
		p.open = p.open[:len(p.open)-1]
	}
}

// name reads the name of a member and its colon.
func (p *parser) name() bool {
	if !p.string() {
		return false
	}
	p.space()
	return p.take(':')
}

func (p *parser) word(wanted string) bool {
	for i := range len(wanted) {
		if !p.take(wanted[i]) {
			return false
		}
	}
	return true
}

func (p *parser) string() bool {
	if !p.take('"') {
		return false
	}
	for {
		switch c := p.peek(); {
		case c == '"':
			p.at++
			return true
		case c == '\\':
			if !p.escape() {
				return false
			}
		case c < ' ':
			return false
		default:
			p.at++
		}
	}
}

func (p *parser) escape() bool {
	p.at++
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.at++
		return true
	case 'u':
		p.at++
		first, ok := p.hex()
		if !ok || !utf16.IsSurrogate(first) {
			return ok
		}
		if !p.take('\\') || !p.take('u') {
			return false
		}
		second, ok := p.hex()
		return ok && utf16.DecodeRune(first, second) != utf8.RuneError
	}
	return false
}

func (p *parser) hex() (r rune, ok bool) {
	for range 4 {
		digit, ok := hexDigit(p.peek())
		if !ok {
			return 0, false
		}
		r = r<<4 | digit
		p.at++
	}
	return r, true
}

func (p *parser) number() bool {
	start := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return false
	}
	if p.take('.') && !p.digits() {
		return false
	}
	scaled := p.peek() == 'e' || p.peek() == 'E'
	if scaled {
		p.at++
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return false
		}
	}
	number := p.text[start:p.at]
	return !scaled && len(number) < infinitySize || inRange(number)
}

// digits reads one digit or more.
func (p *parser) digits() bool {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start
}

// The first number that rounds to an infinity has so many digits, and starts with these.
const (
	infinitySize   = 309
	infinityDigits = "17976931348623158079"
)

// inRange tells whether a float64 can hold a number, without the code that would round it.
func inRange(number string) bool {
	number = strings.TrimPrefix(number, "-")
	mantissa, exponent := number, 0
	if e := strings.IndexAny(number, "eE"); e >= 0 {
		mantissa, exponent = number[:e], exponentOf(number[e+1:])
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	size := len(whole) - (len(whole) + len(fraction) - len(digits)) + exponent
	if digits == "" || size < infinitySize {
		return true
	}
	return size == infinitySize && digits < infinityDigits
}

// exponentOf reads an exponent; of one that is longer than any text, the first digits.
func exponentOf(text string) int {
	exponent := 0
	for i := range len(text) {
		if c := text[i]; c >= '0' && c <= '9' && exponent < 100_000_000 {
			exponent = exponent*10 + int(c-'0')
		}
	}
	if text[0] == '-' {
		return -exponent
	}
	return exponent
}

// unescape is the text between the quotes of a string that was checked.
func unescape(quoted string) string {
	at := strings.IndexByte(quoted, '\\')
	if at < 0 {
		return quoted
	}
	text := append(make([]byte, 0, len(quoted)), quoted[:at]...)
	for at < len(quoted) {
		if quoted[at] != '\\' {
			text = append(text, quoted[at])
			at++
			continue
		}
		switch c := quoted[at+1]; c {
		case 'u':
			r, size := unescapeRune(quoted[at:])
			text = utf8.AppendRune(text, r)
			at += size
			continue
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		default:
			text = append(text, c)
		}
		at += 2
	}
	return string(text)
}

// unescapeRune reads \uXXXX, or two of them that are one character together.
func unescapeRune(escaped string) (r rune, size int) {
	r = fourDigits(escaped[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	return utf16.DecodeRune(r, fourDigits(escaped[8:])), 12
}

func fourDigits(text string) (r rune) {
	for i := range 4 {
		digit, _ := hexDigit(text[i])
		r = r<<4 | digit
	}
	return r
}

func hexDigit(c byte) (digit rune, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0'), true
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10, true
	}
	return 0, false
}
