// Package archtest checks which way the packages of this module depend on each other. The rules are data, see Rules;
// the package's test applies them to the checkout, and each rule's reason is the text of its failure.
//
// It reads source files, not builds: files for every platform and with every build tag are held to the rules.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/demarc-dev/demarc"

// File is one parsed source file.
type File struct {
	Path    string // slash-separated, from the root of the tree
	Package string // the folder it lies in, as "event" or "internal/sqlread"
	Test    bool   // whether its name ends in _test.go
	Lines   int

	ast  *ast.File
	fset *token.FileSet
}

// Violation is one place that breaks a rule.
type Violation struct {
	Rule   Rule
	Path   string
	Line   int
	Detail string // what stands there
}

// String gives the place, what stands there and why that is wrong.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s\n  rule %s: %s", v.Path, v.Line, v.Detail, v.Rule.Name, v.Rule.Reason)
}

// Load parses every Go file of the tree. Folders named testdata or vendor, and those whose name begins with a dot
// or an underscore, are left out, as the go command leaves them out. A file that does not parse is an error.
func Load(tree fs.FS) ([]File, error) {
	var files []File
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			hidden := name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
			if hidden || base == "testdata" || base == "vendor" || base == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parse(name, source)
		if err != nil {
			return err
		}
		files = append(files, file)
		return nil
	})
	return files, err
}

func parse(name string, source []byte) (File, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	return File{
		Path:    name,
		Package: path.Dir(name),
		Test:    strings.HasSuffix(name, "_test.go"),
		Lines:   fset.File(tree.Pos()).LineCount(),
		ast:     tree,
		fset:    fset,
	}, nil
}

func importPath(spec *ast.ImportSpec) string {
	value, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // cannot be: the file parsed
	}
	return value
}

// Check returns every violation of the rules in the files, in the files' order.
func Check(files []File, rules []Rule) []Violation {
	var found []Violation
	for _, file := range files {
		for _, rule := range rules {
			if file.Test && !rule.Tests || !rule.Applies(file) {
				continue
			}
			for _, finding := range rule.Find(file) {
				found = append(found, Violation{rule, file.Path, finding.line, finding.detail})
			}
		}
	}
	return found
}

// finding is a line of one file and what is wrong there.
type finding struct {
	line   int
	detail string
}

// importsWhere finds the imports for which bad says yes.
func importsWhere(bad func(path string) bool) func(File) []finding {
	return func(file File) []finding {
		var found []finding
		for _, spec := range file.ast.Imports {
			if imported := importPath(spec); bad(imported) {
				found = append(found, finding{file.line(spec), "imports " + imported})
			}
		}
		return found
	}
}

// clockNames are what package time offers that reads the clock or waits on it.
var clockNames = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}

// clockUses finds uses of the clock. Importing package time with a dot would hide them, so that counts as one.
func clockUses(file File) []finding {
	name := ""
	var found []finding
	for _, spec := range file.ast.Imports {
		switch {
		case importPath(spec) != "time":
		case spec.Name == nil:
			name = "time"
		case spec.Name.Name == ".":
			found = append(found, finding{file.line(spec), "imports time with a dot, which hides uses of the clock"})
		default:
			name = spec.Name.Name
		}
	}
	ast.Inspect(file.ast, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, ok := selector.X.(*ast.Ident)
		if ok && name != "" && of.Name == name && slices.Contains(clockNames, selector.Sel.Name) {
			found = append(found, finding{file.line(selector), "uses time." + selector.Sel.Name})
		}
		return true
	})
	return found
}

// goStatements finds goroutines being started.
func goStatements(file File) []finding {
	var found []finding
	ast.Inspect(file.ast, func(node ast.Node) bool {
		if statement, ok := node.(*ast.GoStmt); ok {
			found = append(found, finding{file.line(statement), "starts a goroutine"})
		}
		return true
	})
	return found
}

func (f File) line(node ast.Node) int { return f.fset.Position(node.Pos()).Line }
