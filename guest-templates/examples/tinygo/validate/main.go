// A job step that checks a registration, and tells all that is wrong with it at once.
//
// Here are the rules. They are total over all JSON: a value of the wrong type is an error at its path, and hides no
// other. The way to the gateway is in step/.
package main

import (
	"strconv"
	"strings"

	"example.com/order-check/step"
	"example.com/order-check/step/json"
)

const (
	nameBytesMax = 100
	ageMin       = 18
	ageMax       = 130
	// Nobody speaks more, and a hostile registration can't make the answer larger than itself.
	languagesMax = 20
)

func init() {
	step.Run(check)
}

// The gateway never calls it; Go wants one.
func main() {}

func check(input json.Value) (step.Completed, error) {
	var c checker
	if err := c.registration(input); err != nil {
		return step.Completed{}, err
	}
	if len(c.findings) > 0 {
		step.Warn("registration refused", "errors", len(c.findings))
		return step.Completed{}, c.findings
	}
	return step.Completed{Output: new(json.Map).Set("registration", "valid")}, nil
}

// checker holds what was found so far. A path is a JSON Pointer (RFC 6901) into the input.
type checker struct {
	findings step.Findings
}

func (c *checker) add(path, code, message string) {
	c.findings = append(c.findings, step.Finding{Path: path, Code: code, Message: message})
}

// registration checks every rule. The error is that of a member that stands twice.
func (c *checker) registration(input json.Value) error {
	if !c.is(json.Object, input, "") {
		return nil
	}
	var name, email, age, languages json.Value
	err := input.Scan(json.Into("name", &name), json.Into("email", &email), json.Into("age", &age),
		json.Into("languages", &languages))
	if err != nil {
		return err
	}
	if text, ok := c.text(name, "/name"); ok && (text == "" || len(text) > nameBytesMax) {
		c.add("/name", "out-of-range", "1 to 100 bytes")
	}
	if text, ok := c.text(email, "/email"); ok && !isEmail(text) {
		c.add("/email", "malformed", "not an address")
	}
	if years, ok := c.integer(age, "/age"); ok && (years < ageMin || years > ageMax) {
		c.add("/age", "out-of-range", "18 to 130")
	}
	c.languages(languages)
	return nil
}

func (c *checker) languages(languages json.Value) {
	if !c.is(json.List, languages, "/languages") {
		return
	}
	for index, language := range languages.Items() {
		if index == languagesMax {
			c.add("/languages", "out-of-range", "at most 20")
			return
		}
		path := "/languages/" + strconv.Itoa(index)
		if text, ok := c.text(language, path); ok && !isLanguage(text) {
			c.add(path, "malformed", "two small letters, as in ISO 639-1")
		}
	}
}

func (c *checker) is(kind json.Kind, value json.Value, path string) bool {
	switch value.Kind() {
	case kind:
		return true
	case json.Missing, json.Null:
		c.add(path, "required", "a value is needed here")
	default:
		c.add(path, "malformed", "the value has the wrong type")
	}
	return false
}

func (c *checker) text(value json.Value, path string) (text string, ok bool) {
	if !c.is(json.String, value, path) {
		return "", false
	}
	return value.Text()
}

func (c *checker) integer(value json.Value, path string) (number int64, ok bool) {
	if !c.is(json.Number, value, path) {
		return 0, false
	}
	if number, ok = value.Int(); !ok {
		c.add(path, "malformed", "the value has the wrong type")
	}
	return number, ok
}

// isEmail is enough to catch a typing error. Whether somebody reads it, only a letter can tell.
func isEmail(text string) bool {
	name, domain, found := strings.Cut(text, "@")
	return found && name != "" && strings.Contains(domain, ".") && !strings.Contains(domain, "@")
}

func isLanguage(text string) bool {
	return len(text) == 2 && isLower(text[0]) && isLower(text[1])
}

func isLower(c byte) bool {
	return c >= 'a' && c <= 'z'
}
