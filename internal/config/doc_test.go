package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// Every setting is described in docs/config.md and nothing else is, and the page's example is a good configuration.
func TestPageAndCodeAgree(t *testing.T) {
	data, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	settings := map[string]bool{}
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := prefix + f.Tag.Get("yaml")
			switch {
			case !f.IsExported():
			case f.Type.Kind() == reflect.Struct:
				walk(name+".", f.Type)
			default:
				settings[name] = true
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !settings[m[1]] {
			t.Errorf("the page describes %q, which is no setting", m[1])
		}
		delete(settings, m[1])
	}
	for name := range settings {
		t.Errorf("the page does not describe %q", name)
	}
	_, example, _ := strings.Cut(page, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	c, err := Parse([]byte(example))
	if err != nil {
		t.Fatalf("the page's example: %v", err)
	}
	if c.Keep != Defaults().Keep || c.Security.Listen != Defaults().Security.Listen || *c.Security.Limits.MaxRate != *Defaults().Security.Limits.MaxRate {
		t.Error("the page's example does not show the defaults of keep and security")
	}
}
