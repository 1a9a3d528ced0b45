package step

// Finding is what one value of the input or of the job's data is wrong about.
type Finding struct {
	// JSON Pointer (RFC 6901) to the value.
	Path string
	// Stable and machine-readable: "required".
	Code string
	// For people.
	Message string
}

// Findings is the error of data that are wrong: the job fails with all of them, and is not retried.
type Findings []Finding

func (f Findings) Error() string {
	text := "the data are invalid"
	for _, finding := range f {
		text += "; " + finding.Path + ": " + finding.Message
	}
	return text
}

// Invalid is the error of one value that is wrong. The path is a JSON Pointer.
func Invalid(path, code, message string) Findings {
	return Findings{{path, code, message}}
}

// Failure is the error of work that could not be done.
type Failure struct {
	code, message string
	retryable     bool
	retryAfterMs  *uint32
	details       string
}

// Failed is a failure that another attempt will not mend. The methods say more; each returns the failure itself.
func Failed(code, message string) *Failure {
	return &Failure{code: code, message: message}
}

func (f *Failure) Error() string {
	return f.code + ": " + f.message
}

// Retryable says that another attempt may succeed, when the retry policy wants one.
func (f *Failure) Retryable() *Failure {
	f.retryable = true
	return f
}

// RetryAfterMs says that another attempt may succeed, and not before so many milliseconds.
func (f *Failure) RetryAfterMs(wait uint32) *Failure {
	f.retryAfterMs = &wait
	return f.Retryable()
}

// Details adds anything that helps whoever reads the failure; what JSON can't hold is left out.
func (f *Failure) Details(details any) *Failure {
	if text, err := marshal(details); err == nil {
		f.details = text
	}
	return f
}

// HostErrorKind is why the host did not do what a step asked.
type HostErrorKind uint8

const (
	// PermissionDenied: no permission of the module covers the operation; the text names the one that would.
	PermissionDenied HostErrorKind = iota
	// InvalidArgument: not a URL, not a statement, a wrong number of parameters.
	InvalidArgument
	// NotFound: there is no connection, or no secret, of that name.
	NotFound
	// LimitExceeded: a bound of the step was reached.
	LimitExceeded
	// TimedOut: the operation ran out of its own time.
	TimedOut
	// OtherSideFailed: the server, or the way to it.
	OtherSideFailed
)

// HostError is the error of a host call. Returned by a step, it becomes a failure; handle it where the step can go on
// without the answer.
type HostError struct {
	Kind HostErrorKind
	// For people, from the host.
	Text string
}

func (e *HostError) Error() string {
	return e.Code() + ": " + e.Text
}

// Code names the kind: it is the code of the failure that the error becomes.
func (e *HostError) Code() string {
	switch e.Kind {
	case PermissionDenied:
		return "permission-denied"
	case InvalidArgument:
		return "invalid-argument"
	case NotFound:
		return "not-found"
	case LimitExceeded:
		return "limit-exceeded"
	case TimedOut:
		return "timed-out"
	default:
		return "host-failed"
	}
}

func (e *HostError) failure() *Failure {
	failure := Failed(e.Code(), e.Text)
	failure.retryable = e.Kind == TimedOut || e.Kind == OtherSideFailed
	return failure
}
