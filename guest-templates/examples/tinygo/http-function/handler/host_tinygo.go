//go:build tinygo

package handler

//go:generate go tool wit-bindgen-go generate -w handler --out ../internal --package-root example.com/order-check/internal ../wit

import (
	"strconv"
	"strings"

	"go.bytecodealliance.org/cm"

	incoming "example.com/order-check/internal/wasi/http/incoming-handler"
	"example.com/order-check/internal/wasi/http/types"
)

const (
	// A body is kept as a whole, in the memory that a call has. Read it in pieces where it may be larger.
	bodyBytesMax  = 1 << 20
	readBytesMax  = 64 << 10
	writeBytesMax = 4096 // What a server takes in one call.
)

// Serve makes a function the component's handler. Call it in an init: a server calls no main.
func Serve(function Function) {
	incoming.Exports.Handle = func(request types.IncomingRequest, out types.ResponseOutparam) {
		method, target := methodOf(request.Method()), request.PathWithQuery()
		path, query, _ := strings.Cut(target.Value(), "?")
		if path == "" {
			path = "/"
		}
		body, answer := readBody(request)
		if answer == nil {
			response := function(Request{method, path, query, readHeader(request.Headers()), body})
			answer = &response
		}
		request.ResourceDrop()
		if method == "HEAD" {
			// Without a length: servers hold it against what is sent.
			answer.Body = nil
		} else {
			*answer = answer.With("content-length", strconv.Itoa(len(answer.Body)))
		}
		send(out, *answer)
	}
}

func methodOf(method types.Method) string {
	if other := method.Other(); other != nil {
		return *other
	}
	return strings.ToUpper(method.String())
}

func readHeader(fields types.Fields) []Field {
	entries := fields.Entries().Slice()
	header := make([]Field, len(entries))
	for i, entry := range entries {
		header[i] = Field{string(entry.F0), string(cm.List[uint8](entry.F1).Slice())}
	}
	fields.ResourceDrop()
	return header
}

// readBody gives the whole body, or what its sender is told.
func readBody(request types.IncomingRequest) (body []byte, refusal *Response) {
	consumed := request.Consume()
	if consumed.IsErr() {
		return nil, broken()
	}
	incoming := *consumed.OK()
	defer incoming.ResourceDrop()
	opened := incoming.Stream()
	if opened.IsErr() {
		return nil, broken()
	}
	stream := *opened.OK()
	// Before the body itself: it is a part of it.
	defer stream.ResourceDrop()
	for {
		read := stream.BlockingRead(readBytesMax)
		if err := read.Err(); err != nil {
			if err.Closed() {
				return body, nil
			}
			err.LastOperationFailed().ResourceDrop()
			return nil, broken()
		}
		if body = append(body, read.OK().Slice()...); len(body) > bodyBytesMax {
			refused := Text(413, "the body is too large\n")
			return nil, &refused
		}
	}
}

func broken() *Response {
	refused := Text(400, "the body can't be read\n")
	return &refused
}

type result = cm.Result[types.ErrorCodeShape, types.OutgoingResponse, types.ErrorCode]

func send(out types.ResponseOutparam, response Response) {
	outgoing, ok := lower(response)
	if !ok {
		told := cm.Some("a status or a header that HTTP doesn't have")
		types.ResponseOutparamSet(out, cm.Err[result](types.ErrorCodeInternalError(told)))
		return
	}
	body := outgoing.Body()
	types.ResponseOutparamSet(out, cm.OK[result](outgoing))
	write(*body.OK(), response.Body)
	types.OutgoingBodyFinish(*body.OK(), cm.None[types.Trailers]())
}

func lower(response Response) (outgoing types.OutgoingResponse, ok bool) {
	fields := types.NewFields()
	for _, field := range response.Header {
		value := types.FieldValue(cm.ToList([]byte(field[1])))
		if appended := fields.Append(types.FieldName(field[0]), value); appended.IsErr() {
			fields.ResourceDrop()
			return 0, false
		}
	}
	outgoing = types.NewOutgoingResponse(fields)
	if response.Status < 100 || response.Status > 999 || outgoing.SetStatusCode(types.StatusCode(response.Status)) == cm.ResultErr {
		outgoing.ResourceDrop()
		return 0, false
	}
	return outgoing, true
}

// write gives up when whoever asked has gone away.
func write(body types.OutgoingBody, bytes []byte) {
	opened := body.Write()
	stream := *opened.OK()
	defer stream.ResourceDrop()
	for len(bytes) > 0 {
		piece := bytes[:min(len(bytes), writeBytesMax)]
		bytes = bytes[len(piece):]
		if written := stream.BlockingWriteAndFlush(cm.ToList(piece)); written.IsErr() {
			return
		}
	}
}
