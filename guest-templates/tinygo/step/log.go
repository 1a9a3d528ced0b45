package step

import "example.com/order-check/step/json"

// Level is how much a log line matters.
type Level uint8

const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarn
	LevelError
)

// Debug writes a log line, kept with the execution, with fields as pairs of a name and a value: as in log/slog.
func Debug(message string, fields ...any) { writeLine(LevelDebug, message, fields) }

// Info writes a log line; see [Debug].
func Info(message string, fields ...any) { writeLine(LevelInfo, message, fields) }

// Warn writes a log line; see [Debug].
func Warn(message string, fields ...any) { writeLine(LevelWarn, message, fields) }

// Error writes a log line; see [Debug].
func Error(message string, fields ...any) { writeLine(LevelError, message, fields) }

// What stands where the name of a field should be gets this one, as in log/slog.
const badKey = "!BADKEY"

// writeLine never fails: a value that JSON can't hold is null.
func writeLine(level Level, message string, pairs []any) {
	fields := make([][2]string, 0, (len(pairs)+1)/2)
	for len(pairs) > 0 {
		name, isName := pairs[0].(string)
		value := pairs[0]
		if isName && len(pairs) > 1 {
			value, pairs = pairs[1], pairs[2:]
		} else {
			name, pairs = badKey, pairs[1:]
		}
		text, err := json.Marshal(value)
		if err != nil {
			text = "null"
		}
		fields = append(fields, [2]string{name, text})
	}
	hostLog(level, message, fields)
}
