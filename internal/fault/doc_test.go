package fault

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// docs/exit-codes.md has a line for each code.
func TestExitCodesAreDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Exit") {
			return true
		}
		code := spec.Values[0].(*ast.BasicLit).Value
		if !strings.Contains(string(page), "\n| "+code+" |") {
			t.Errorf("%s, %s, is not described", spec.Names[0].Name, code)
		}
		n++
		return true
	})
	if n != 8 {
		t.Errorf("%d exit codes were found, 8 were expected", n)
	}
}
