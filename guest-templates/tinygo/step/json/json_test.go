package json

import (
	"bytes"
	standard "encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// samples are texts that are JSON, and such as are not by very little.
var samples = []string{
	``, ` `, `null`, ` true `, `false`, `nul`, `nulll`, `tru e`, `0`, `-0`, `-`, `01`, `1.`, `.5`, `+1`, `1.5`, `-1.5e-7`, `1e`, `1e+`,
	`1E+2`, `1e400`, `-1e400`, `1e-400`, `0e999999999999`, `0x1`, `NaN`, `Infinity`, `1.7976931348623157e308`, `1.7976931348623159e308`,
	`17976931348623157` + strings.Repeat("0", 292), `17976931348623159` + strings.Repeat("0", 292), `1` + strings.Repeat("0", 400),
	`1` + strings.Repeat("0", 400) + `e-400`, `0.` + strings.Repeat("0", 400) + `1e500`, `9223372036854775807`, `-9223372036854775809`,
	`""`, `"`, `"a`, `"\`, `"\"`, `"\\"`, `"\n\t\b\f\r\/\""`, `"\x"`, `"\u00e4"`, `"\u00E4"`, `"\u12"`, `"\u12g4"`, `"\uD83D\uDED2"`, "\"\x01\"",
	"\"\x7f\"", "\"\u2028 ü 東京\"", `"\u0000"`, `[]`, `[ ]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[1,2`, `[`, `]`, `[]]`, `[[],[{}],{"a":[]}]`, `{}`, `{ }`,
	`{"a":1}`, `{"a" : 1 , "b":[2]}`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`, `{1:2}`, `{"a":{"b":{"c":null}}}`,
	`{} {}`, `[1] x`, "\ufeff{}", "[1]\n\t\r ", "[1]\v", `{"\u0061":1}`, `{"a":1,"a":2}`, `"a" "b"`, `/**/1`, `'a'`, "\x00",
}

func TestReadsWhatTheStandardLibraryReads(t *testing.T) {
	for _, text := range samples {
		compare(t, text)
	}
}

func FuzzReadsWhatTheStandardLibraryReads(f *testing.F) {
	for _, text := range samples {
		f.Add(text)
	}
	// The standard library takes lone surrogates, and bytes that are not UTF-8.
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.Contains(text, `\u`) && strings.ToValidUTF8(text, "") == text {
			compare(t, text)
		}
	})
}

func compare(t *testing.T, text string) {
	t.Helper()
	value, err := Parse(text)
	var wanted any
	if refusal := standard.Unmarshal([]byte(text), &wanted); (refusal == nil) != (err == nil) {
		t.Fatalf("%q: %v, the standard library says %v", text, err, refusal)
	}
	if err != nil {
		return
	}
	if is := plain(value); !reflect.DeepEqual(is, wanted) {
		t.Fatalf("%q: %v, the standard library says %v", text, is, wanted)
	}
	if value.JSON() != strings.Trim(text, " \t\r\n") {
		t.Fatalf("%q became %q", text, value.JSON())
	}
}

// plain is a value as the standard library gives it.
func plain(value Value) any {
	switch value.Kind() {
	case Bool:
		is, _ := value.Bool()
		return is
	case Number:
		number, _ := value.Float()
		return number
	case String:
		text, _ := value.Text()
		return text
	case List:
		list := []any{}
		for _, item := range value.Items() {
			list = append(list, plain(item))
		}
		return list
	case Object:
		object := map[string]any{}
		for name, member := range value.Members() {
			object[name] = plain(member)
		}
		return object
	}
	return nil
}

func TestTextsThatNoStringCanHoldAreRefused(t *testing.T) {
	for _, text := range []string{`"\ud800"`, `"\ud800x"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800\n"`, "\"\xff\"", "\"\xed\xa0\x80\""} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestErrorsTellThePlace(t *testing.T) {
	for text, wanted := range map[string]string{
		"": "line 1 column 0", "[": "line 1 column 1", "[1,\n 2 3]": "line 2 column 4", "{\"a\":1,\n\n}": "line 3 column 1", `"a` + "\n": "line 2 column 0",
		"[tru": "line 1 column 4", `{"a":x}`: "line 1 column 6",
	} {
		_, err := Parse(text)
		if err == nil || !strings.HasSuffix(err.Error(), wanted) {
			t.Errorf("%q: %v, wanted %s", text, err, wanted)
		}
	}
}

func TestDepthCostsNoStack(t *testing.T) {
	depth := 1_000_000
	value, err := Parse(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	if err != nil || value.Kind() != List {
		t.Fatal(err)
	}
	for _, item := range value.Items() {
		if len(item.JSON()) != 2*(depth-1) {
			t.Error(len(item.JSON()))
		}
	}
}

func TestIntegersAreWrittenAsSuch(t *testing.T) {
	for text, wanted := range map[string]int64{"0": 0, "7": 7, "-7": -7, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
		if number, ok := parse(t, text).Int(); !ok || number != wanted {
			t.Errorf("%s is %d, %v", text, number, ok)
		}
	}
	for _, text := range []string{"-0", "1.0", "1e2", "9223372036854775808", "-9223372036854775809", `"1"`, "null", "[1]"} {
		if number, ok := parse(t, text).Int(); ok {
			t.Errorf("%s is %d", text, number)
		}
	}
}

func TestUnsignedIntegersReachFurther(t *testing.T) {
	for text, wanted := range map[string]uint64{"0": 0, "7": 7, "18446744073709551615": math.MaxUint64} {
		if number, ok := parse(t, text).Uint(); !ok || number != wanted {
			t.Errorf("%s is %d, %v", text, number, ok)
		}
	}
	for _, text := range []string{"-0", "-1", "1.0", "1e2", "18446744073709551616", `"1"`, "null", "[1]"} {
		if number, ok := parse(t, text).Uint(); ok {
			t.Errorf("%s is %d", text, number)
		}
	}
}

func TestScanFindsMembersInAnyOrder(t *testing.T) {
	var a, b, c Value
	c = parse(t, "1")
	if err := parse(t, ` { "x" : {"a":9} , "b":[2], "\u0061" : 1 } `).Scan(Into("a", &a), Into("b", &b), Into("c", &c)); err != nil {
		t.Fatal(err)
	}
	if a.JSON() != "1" || b.JSON() != "[2]" || c.Kind() != Missing {
		t.Error(a.JSON(), b.JSON(), c.JSON())
	}
	err := parse(t, "{\"a\":1,\n\"a\" :2}").Scan(Into("a", &a))
	if err == nil || err.Error() != "a member stands twice at line 2 column 4" {
		t.Error(err)
	}
	if parse(t, `{"a":1,"a":2}`).Get("a").JSON() != "2" || parse(t, "[]").Get("a").Kind() != Missing {
		t.Error("Get")
	}
}

func TestWritesWhatItReads(t *testing.T) {
	object := new(Map).Set("z", 1).Set("a", []any{nil, true, -5, int32(-6), int64(-7), uint(5), uint32(6), uint64(math.MaxUint64)}).
		Set("z", "ü\"\\\b\f\n\r\t\x01\x7f\xff東京").Set("v", parse(t, `[ 1 ]`)).Set("none", Value{}).Set("l", []string{"x", "y"}).
		Set("f", Float(-1.5e300)).Set("whole", Float(-3)).Set("large", Float(1e21)).Set("nan", Float(math.NaN())).Set("o", new(Map))
	text, err := Marshal(object)
	wanted := `{"z":"ü\"\\\b\f\n\r\t\u0001` + "\x7f\uFFFD" + `東京","a":[null,true,-5,-6,-7,5,6,18446744073709551615],"v":[ 1 ],"none":null,` +
		`"l":["x","y"],"f":-1.5e+300,"whole":-3.0,"large":1e+21,"nan":null,"o":{}}`
	if err != nil || text != wanted {
		t.Errorf("%s, %v", text, err)
	}
	if !standard.Valid([]byte(text)) {
		t.Error("not JSON")
	}
	for _, value := range []any{1.5, struct{}{}, []any{map[string]any{}}, new(Map).Set("a", []byte("x"))} {
		if _, err := Marshal(value); err == nil {
			t.Errorf("%v was written", value)
		}
	}
}

func TestAMapWithManyMembersIsLikeAnyOther(t *testing.T) {
	object, wanted := new(Map), []string{}
	for i := range 50_000 {
		object.Set(strconv.Itoa(i), i).Set(strconv.Itoa(i/2), true)
		value := "true"
		if i >= 25_000 {
			value = strconv.Itoa(i)
		}
		wanted = append(wanted, `"`+strconv.Itoa(i)+`":`+value)
	}
	text, err := Marshal(object)
	if err != nil || text != "{"+strings.Join(wanted, ",")+"}" {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

func TestStringsAreWrittenForTheStandardLibrary(t *testing.T) {
	for c := range rune(0x3000) {
		var back string
		text := AppendString(nil, "<"+string(c)+">")
		if err := standard.Unmarshal(text, &back); err != nil || back != "<"+string(c)+">" {
			t.Fatalf("%s: %q, %v", strconv.QuoteRune(c), back, err)
		}
		if bytes.ContainsRune(text, c) != (c >= ' ' && c != '"' && c != '\\') && c > ' ' && c != '"' && c != '\\' {
			t.Fatalf("%q is escaped without need", c)
		}
	}
}

func parse(t *testing.T, text string) Value {
	t.Helper()
	value, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}
