//go:build tinygo

package step

// TinyGo writes the text of a panic, and what print and println are given, to the standard output; the gateway looks for
// it on the standard error, which is where Go itself writes it. So the runtime's stream becomes the other one.
//
// The variable is TinyGo 0.41's. With a TinyGo that names it otherwise the step doesn't link: then change the name here, or
// delete this file, and the text of a panic is a line of level info.

//go:extern runtime.putcharStdout
var runtimeOutput uint32

//go:wasmimport wasi:cli/stderr@0.2.0 get-stderr
func getStderr() uint32

func init() {
	runtimeOutput = getStderr()
}
