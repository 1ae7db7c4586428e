package otlp

import (
	"strconv"
	"strings"
)

// code returns the place that a span's code attributes name, as module:function:line, with what is known of it.
func (b *batch) code() string {
	a := &b.span.attrs
	function, module := a.text(codeFunction), a.text(codeNamespace)
	if function == "" {
		return ""
	}
	if module == "" {
		if file := a.text(codeFile); file != "" {
			module = moduleOf(file)
			function = function[strings.LastIndexByte(function, '.')+1:]
		} else if dot := strings.LastIndexByte(function, '.'); dot >= 0 {
			module, function = function[:dot], function[dot+1:]
		}
	}
	if line, ok := a.number(codeLine); ok && line > 0 {
		return b.join(module, ":", function, ":", strconv.FormatInt(line, 10))
	}
	return b.join(module, ":", function)
}

// moduleOf names a Python module by its file: the last two parts of the path, because a path does not tell where the
// package begins ("/srv/shop/app.py" is shop.app).
func moduleOf(file string) string {
	file = strings.TrimSuffix(strings.ReplaceAll(file, `\`, "/"), ".py")
	if last := strings.LastIndexByte(file, '/'); last > 0 {
		dir := strings.LastIndexByte(file[:last], '/')
		if !strings.HasSuffix(file[:last], ":") {
			return strings.TrimPrefix(strings.ReplaceAll(file[dir+1:], "/", "."), ".")
		}
		return file[last+1:]
	}
	return strings.TrimPrefix(file, "/")
}

// maxStack bounds how much of a stack trace is looked at: its end, where Python writes the innermost call.
const maxStack = 64 << 10

// raisedAt finds in a Python stack trace the innermost call in the service's own code (not below site-packages,
// dist-packages or the interpreter's library), else the innermost of all, as module:function:line. "" where the text is
// no Python stack trace. Of chained exceptions the last block counts, which is the one that left the span.
func raisedAt(stack string) string {
	if len(stack) > maxStack {
		stack = stack[len(stack)-maxStack:]
	}
	innermost := ""
	for len(stack) > 0 {
		at := strings.LastIndexByte(stack, '\n')
		line := strings.TrimLeft(stack[at+1:], " \t|+-") // groups of exceptions are drawn with bars
		stack = stack[:max(at, 0)]
		if strings.HasPrefix(line, "Traceback (most recent call last)") {
			break
		}
		rest, ok := strings.CutPrefix(line, `File "`)
		if !ok {
			continue
		}
		file, rest, ok := strings.Cut(rest, `", line `)
		if !ok {
			continue
		}
		number, function, _ := strings.Cut(rest, ", in ")
		if _, err := strconv.Atoi(strings.TrimSpace(number)); err != nil {
			continue
		}
		place := moduleOf(file) + ":" + strings.TrimSpace(function) + ":" + strings.TrimSpace(number)
		if innermost == "" {
			innermost = place
		}
		if !library(file) {
			return place
		}
	}
	return innermost
}

func library(file string) bool {
	file = strings.ReplaceAll(file, `\`, "/")
	return strings.HasPrefix(file, "<") || strings.Contains(file, "/site-packages/") ||
		strings.Contains(file, "/dist-packages/") || strings.Contains(file, "/lib/python") ||
		strings.Contains(file, "/lib64/python")
}
