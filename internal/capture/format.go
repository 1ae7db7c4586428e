// Package capture keeps events on disk: append-only segments of compressed records, and a manifest that lists them.
//
// Guarantees: what was written is durable within about a second of Append; a process killed at any point leaves a
// capture that opens, with everything up to the last flush; a damaged record costs that record alone; what was cut,
// skipped, dropped or lost is said in Info. docs/capture.md describes the format.
package capture

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// FormatVersion is the version of the directory's format. A reader refuses a later one.
const FormatVersion = 1

const (
	formatName   = "demarc.capture"
	manifestFile = "manifest.json"
	lockFile     = "lock"
	dirMode      = 0o700
	fileMode     = 0o600
	// maxManifest bounds the manifest that a reader accepts, in bytes.
	maxManifest = 16 << 20
)

// manifest is the list of a capture's segments, replaced as a whole.
type manifest struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Created  time.Time `json:"created"`
	Service  string    `json:"service,omitempty"`
	Closed   bool      `json:"closed"` // the writer ended in order
	Segments []segment `json:"segments"`
	Dropped  dropped   `json:"dropped"` // by retention
	Lost     int64     `json:"lost_events,omitempty"`
}

// segment is one file of records. The counts are those of a sealed segment; those of the one being written are found
// by walking over its records' headers.
type segment struct {
	File    string    `json:"file"`
	Sealed  bool      `json:"sealed"`
	Created time.Time `json:"created"`
	Ended   time.Time `json:"ended,omitzero"` // time of the last write
	Bytes   int64     `json:"bytes,omitempty"`
	Events  int64     `json:"events,omitempty"`
	FirstAt int64     `json:"first_at,omitempty"` // earliest start of an event, Unix nanoseconds
	LastAt  int64     `json:"last_at,omitempty"`  // latest start
}

type dropped struct {
	Segments int64 `json:"segments"`
	Events   int64 `json:"events"`
	Bytes    int64 `json:"bytes"`
}

var segmentName = regexp.MustCompile(`^([0-9]{8})\.seg$`)

func segmentFile(n int) string { return fmt.Sprintf("%08d.seg", n) }

// segmentNumber returns the number in a segment's file name, 0 for any other name.
func segmentNumber(file string) int {
	m := segmentName.FindStringSubmatch(file)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// readManifest reads the manifest of a capture and refuses what this version cannot read.
func readManifest(dir string) (manifest, error) {
	var m manifest
	path := filepath.Join(dir, manifestFile)
	fail := func(cause error, expected, try string) *fault.Error {
		return &fault.Error{What: "cannot open capture " + dir, Cause: cause, Expected: expected, Retry: fault.RetryUseless,
			Try: try, Code: fault.ExitCapture}
	}
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			cause := errors.New("no " + manifestFile + " in it")
			if st, err := os.Stat(dir); err != nil {
				cause = errors.New("no such directory")
			} else if !st.IsDir() {
				cause = errors.New("it is a file, not a directory")
			}
			e := fail(cause, "a directory written by demarc", "ls .demarc")
			e.Code = fault.ExitFailed
			return m, e
		}
		return m, &fault.Error{What: "cannot open capture " + dir, Cause: err, Retry: fault.RetrySafe}
	}
	if info.Size() > maxManifest {
		return m, fail(fmt.Errorf("its manifest has %d bytes", info.Size()), fmt.Sprintf("at most %d bytes", maxManifest), "")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return m, &fault.Error{What: "cannot read " + path, Cause: err, Retry: fault.RetrySafe}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fail(fmt.Errorf("its manifest is not JSON: %w", err), "", "")
	}
	if m.Format != formatName {
		return m, fail(fmt.Errorf("its format is %q", m.Format), fmt.Sprintf("%q", formatName), "")
	}
	if m.Version > FormatVersion {
		return m, newerVersion(dir, m.Version)
	}
	if m.Version < 1 {
		return m, fail(fmt.Errorf("its manifest says version %d", m.Version), "version 1", "")
	}
	for _, s := range m.Segments {
		if segmentNumber(s.File) == 0 || s.Events < 0 || s.Bytes < 0 {
			return m, fail(fmt.Errorf("its manifest lists a segment %q that cannot be", s.File), "names such as 00000001.seg", "")
		}
	}
	return m, nil
}

func newerVersion(dir string, version int) error {
	return &fault.Error{
		What:     "cannot open capture " + dir,
		Cause:    fmt.Errorf("it has format version %d, this demarc reads up to version %d", version, FormatVersion),
		Expected: fmt.Sprintf("a capture of format version %d", FormatVersion),
		Retry:    fault.RetryUseless,
		Try:      "the demarc that wrote it, or a later one",
		Code:     fault.ExitCapture,
	}
}

// A segment begins with a header of headerSize bytes: magic, version, number, and their checksum.
const (
	segmentMagic = "DEMARCSG"
	headerSize   = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSegmentHeader(dst []byte, number int) []byte {
	at := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, FormatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(number))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

func parseSegmentHeader(b []byte) (version int, err error) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return 0, errors.New("its header is damaged")
	}
	return int(binary.LittleEndian.Uint32(b[8:])), nil
}

// recordHeader stands before each record's compressed bytes.
type recordHeader struct {
	length  uint32 // of the compressed bytes
	raw     uint32 // of the bytes before compression
	events  uint32
	number  uint32 // within the segment, from 1
	firstAt int64
	lastAt  int64
	crc     uint32 // CRC32C of the compressed bytes
}

const (
	recordMagic      = "dRec"
	recordHeaderSize = 44
	maxPacked        = maxRaw + maxRaw/64 // of one record's compressed bytes
)

func (h *recordHeader) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, recordMagic...)
	for _, v := range []uint32{h.length, h.raw, h.events, h.number} {
		dst = binary.LittleEndian.AppendUint32(dst, v)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.firstAt))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.lastAt))
	dst = binary.LittleEndian.AppendUint32(dst, h.crc)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseRecordHeader tells whether b begins with a record's header that is whole and within the limits.
func parseRecordHeader(b []byte) (recordHeader, bool) {
	if len(b) < recordHeaderSize || string(b[:4]) != recordMagic ||
		binary.LittleEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return recordHeader{}, false
	}
	h := recordHeader{
		length: binary.LittleEndian.Uint32(b[4:]), raw: binary.LittleEndian.Uint32(b[8:]),
		events: binary.LittleEndian.Uint32(b[12:]), number: binary.LittleEndian.Uint32(b[16:]),
		firstAt: int64(binary.LittleEndian.Uint64(b[20:])), lastAt: int64(binary.LittleEndian.Uint64(b[28:])),
		crc: binary.LittleEndian.Uint32(b[36:]),
	}
	return h, h.length <= maxPacked && h.raw <= maxRaw && h.events >= 1 && h.events <= maxEvents
}
