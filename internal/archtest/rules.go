package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Rule is one statement about the files it applies to.
type Rule struct {
	Name    string
	Reason  string // why it holds, shown with every violation
	Tests   bool   // whether it holds for _test.go files too
	Applies func(File) bool
	Find    func(File) []finding
}

// pure are the analyses, folds over events whose answer depends on nothing else, and the generator of test traffic.
var pure = []string{
	"internal/sqlread", "internal/baseline", "internal/forecast", "internal/sim", "internal/stale", "internal/compare", "internal/audit",
	"internal/join", "internal/synth",
}

// outside are the parts of the standard library through which a package reaches the world.
var outside = []string{"crypto/rand", "database", "io/ioutil", "net", "os", "plugin", "syscall", "testing"}

// maxMainLines is how long cmd/demarc/main.go may be.
const maxMainLines = 100

// Rules returns what holds in this module.
func Rules() []Rule {
	return []Rule{
		{
			Name:    "event-standard-library",
			Reason:  "event is the contract between every source and every analysis: it may depend on nothing that could change under it",
			Applies: in("event"),
			Find:    importsWhere(func(path string) bool { return !standard(path) }),
		},
		{
			Name:    "event-no-world",
			Reason:  "event is vocabulary: reading files, networks or databases is the work of sources and keepers",
			Applies: in("event"),
			Find:    importsWhere(under(outside...)),
		},
		{
			Name:    "event-no-clock",
			Reason:  "the time of an event comes from its source; a clock read here would make equal input give unequal events",
			Applies: in("event"),
			Find:    clockUses,
		},
		{
			Name:    "pure-no-world",
			Reason:  "analyses are pure folds over events: live, offline, partitioned and resumed runs must give the same answer",
			Applies: in(pure...),
			Find:    importsWhere(under(outside...)),
		},
		{
			Name:    "pure-no-clock",
			Reason:  "an analysis that reads the clock gives another answer each time it is asked; time comes with the events",
			Applies: in(pure...),
			Find:    clockUses,
		},
		{
			Name:    "pure-no-goroutine",
			Reason:  "whoever runs an analysis decides what runs at the same time; one that starts its own cannot be partitioned",
			Applies: in(pure...),
			Find:    goStatements,
		},
		{
			Name:    "pure-depends-on-pure",
			Reason:  "sources, keepers and renderers import analyses, never the reverse: analyses know event and each other only",
			Applies: in(pure...),
			Find: importsWhere(func(path string) bool {
				return under(Module)(path) && !under(our(append([]string{"event"}, pure...)...)...)(path)
			}),
		},
		{
			Name:    "opentelemetry-only-in-otlp",
			Reason:  "OTLP is one way in among several; behind internal/otlp everything is events, and the decoder can be replaced",
			Tests:   true,
			Applies: notIn("internal/otlp", "bench"),
			Find:    importsWhere(under("go.opentelemetry.io")),
		},
		{
			Name:    "parquet-only-in-capture",
			Reason:  "Parquet is an export format of the capture; nothing else may come to rest on it",
			Tests:   true,
			Applies: notIn("internal/capture"),
			Find:    importsWhere(under("github.com/parquet-go")),
		},
		{
			Name:    "lexer-only-in-sqlread",
			Reason:  "SQL text is read in one place, so that every analysis agrees on tables and fingerprints",
			Tests:   true,
			Applies: notIn("internal/sqlread"),
			Find:    importsWhere(under("github.com/DataDog/go-sqllexer")),
		},
		{
			Name:    "oracle-only-in-tests",
			Reason:  "PostgreSQL's own parser is what sqlread is compared with in tests; shipped, it would bring a C code base along",
			Applies: func(File) bool { return true },
			Find:    importsWhere(under("github.com/pganalyze/pg_query_go", "github.com/wasilibs/go-pgquery")),
		},
		{
			Name:    "commands-in-one-place",
			Reason:  "other people's commands are run by internal/command, which bounds, masks and ends them; a second place would not",
			Applies: in("internal/boundary", "internal/check", "internal/cli", "internal/logwatch"),
			Find:    importsWhere(under("os/exec")),
		},
		{
			Name:    "notes-below-changes",
			Reason:  "a change writes a note and a command shows one; a note that knew records could be led to run what stands in them",
			Applies: in("internal/note", "internal/noteindex", "internal/notesite"),
			Find:    importsWhere(under(append(our("internal/change", "internal/cli", "internal/command"), "os/exec")...)),
		},
		{
			Name:    "web-without-cli",
			Reason:  "the page and the commands are two faces of the same packages; what both need belongs below both",
			Applies: in("internal/web"),
			Find:    importsWhere(under(our("internal/cli")...)),
		},
		{
			Name:    "cli-without-web",
			Reason:  "the page and the commands are two faces of the same packages; cmd/demarc joins them",
			Applies: in("internal/cli"),
			Find:    importsWhere(under(our("internal/web")...)),
		},
		{
			Name:    "main-wires",
			Reason:  "main only wires parts together; what is longer is logic that no test reaches",
			Applies: func(file File) bool { return file.Path == "cmd/demarc/main.go" },
			Find: func(file File) []finding {
				if file.Lines < maxMainLines {
					return nil
				}
				return []finding{{file.Lines, fmt.Sprintf("has %d lines, fewer than %d are allowed", file.Lines, maxMainLines)}}
			},
		},
		{
			Name:    "no-cgo",
			Reason:  "every binary is built with CGO_ENABLED=0, static, for any platform from any other",
			Applies: func(File) bool { return true },
			Find:    importsWhere(func(path string) bool { return path == "C" }),
		},
	}
}

// in says whether a file lies in one of the packages or below it.
func in(packages ...string) func(File) bool {
	below := under(packages...)
	return func(file File) bool { return below(file.Package) }
}

func notIn(packages ...string) func(File) bool {
	inside := in(packages...)
	return func(file File) bool { return !inside(file) }
}

// under says whether a path is one of the roots or below one.
func under(roots ...string) func(path string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(roots, func(root string) bool {
			return path == root || strings.HasPrefix(path, root+"/")
		})
	}
}

// standard says whether an import path belongs to Go's standard library: its first element has no dot, where
// a module's path always has one.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// our gives the import paths of packages of this module.
func our(packages ...string) []string {
	paths := make([]string, len(packages))
	for i, name := range packages {
		paths[i] = Module + "/" + name
	}
	return paths
}
