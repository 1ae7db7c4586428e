package change

import (
	"bytes"
	"errors"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/fault"
)

// SetFiles writes the files touched and the security settings touched into the record. All else of the file, comments and
// order too, stays byte for byte. It refuses if the file has changed since it was read.
func (r *Record) SetFiles(files []string, security []SecuritySetting) error {
	fail := func(cause error) error {
		return &fault.Error{What: "cannot write the files touched into " + r.path, Cause: cause, Retry: fault.RetrySafe,
			Expected: "a record whose top-level keys stand at the beginning of their lines, and permission to write"}
	}
	now, err := readBounded(r.path, MaxRecord)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(now, r.data) {
		return fail(errors.New("it was changed by somebody else meanwhile"))
	}
	data, err := replaceKey(r.data, "files", files, len(files) == 0, "base")
	if err == nil {
		data, err = replaceKey(data, "security", security, len(security) == 0, "files")
	}
	if err != nil {
		return fail(err)
	}
	parsed, err := Parse(data)
	if err != nil {
		return fail(err)
	}
	if err := WriteFile(r.path, data); err != nil {
		return fail(err)
	}
	path := r.path
	*r = *parsed
	r.path = path
	return nil
}

// replaceKey puts a value under a top-level key of a YAML text, in the place where the key stands; a new one comes after
// the key named after, or at the end. A value that is empty takes the key out.
func replaceKey(data []byte, key string, value any, empty bool, after string) ([]byte, error) {
	var text []byte
	if !empty {
		var err error
		if text, err = yaml.MarshalWithOptions(yaml.MapSlice{{Key: key, Value: value}}, yaml.Indent(2), yaml.IndentSequence(true)); err != nil {
			return nil, err
		}
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(bytes.Clone(data), '\n')
	}
	from, to, ok := keyLines(data, key)
	if !ok {
		if empty {
			return data, nil
		}
		if _, to, ok = keyLines(data, after); !ok {
			to = len(data)
		}
		from = to
		text = append([]byte("\n"), text...)
	}
	return bytes.Join([][]byte{data[:from], text, data[to:]}, nil), nil
}

// keyLines returns the bytes of a top-level key and its value: from the line of the key up to the line after the value.
// Comments and blank lines after the value belong to what follows.
func keyLines(data []byte, key string) (from, to int, ok bool) {
	at := 0
	for at < len(data) {
		end := bytes.IndexByte(data[at:], '\n') + at + 1
		line := data[at:end]
		top := line[0] != ' ' && line[0] != '\t' && line[0] != '#' && line[0] != '\n' && line[0] != '\r' && line[0] != '-'
		switch {
		case ok && top:
			return from, to, true
		case ok && (line[0] == ' ' || line[0] == '\t' || line[0] == '-') && len(bytes.TrimSpace(line)) > 0:
			to = end
		case !ok && top && bytes.HasPrefix(line, []byte(key+":")):
			from, to, ok = at, end, true
		}
		at = end
	}
	return from, to, ok
}
